// SPDX-License-Identifier: GPL-2.0
/* Run in the guest: executes the marker instruction that the insns plugin looks for. `mark start`, `mark stop`. */
int main(int argc, char **argv)
{
	if (argc > 1 && argv[1][2] == 'a')
		asm volatile(".byte 0x0f, 0x1f, 0x80, 0x01, 0xa0, 0x57, 0x5c");
	else
		asm volatile(".byte 0x0f, 0x1f, 0x80, 0x02, 0xa0, 0x57, 0x5c");
	return 0;
}
