# SPDX-License-Identifier: GPL-2.0
"""The one exception type whose text is meant for the person at the terminal."""


class LabError(Exception):
    """Something that the user can understand and usually mend; printed without a traceback."""
