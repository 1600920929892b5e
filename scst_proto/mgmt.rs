// SPDX-License-Identifier: GPL-2.0

//! The language of the `mgmt` files: words, names, `name=value` parameters, and what to say when it is wrong.
//!
//! A line is a command word, its operands, and maybe parameters separated by semicolons:
//! `add_device disk01 filename=/srv/disk01; blocksize=4096`. White space around words, `=` and `;` does not matter; a
//! value with white space or a semicolon in it stands in quotation marks.
//!
//! An [`Error`] borrows the offending piece; its `Display` is the kernel log line.

use core::fmt;

/// The errno classes that parsing can end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// EINVAL.
    Invalid,
    /// EOVERFLOW.
    Overflow,
}

impl Errno {
    /// The positive Linux number.
    pub const fn number(self) -> i32 {
        match self {
            Self::Invalid => 22,
            Self::Overflow => 75,
        }
    }
}

/// What is wrong with a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The bytes are no text.
    NotText,
    /// Nothing, where something is needed.
    Missing(&'static str),
    /// More than is needed.
    Surplus,
    /// A command that this file does not know; it knows these.
    UnknownCommand {
        /// What it knows.
        known: &'static str,
    },
    /// A parameter that is not known here; these are.
    UnknownParameter {
        /// What is known.
        known: &'static str,
    },
    /// A word that is none of these.
    NotOneOf(&'static str),
    /// A parameter without `=`.
    NoValue,
    /// A quotation mark without its partner.
    OpenQuote,
    /// A character that a name must not have.
    NameCharacter,
    /// A name that is too long.
    TooLong {
        /// The most bytes that it may have.
        max: usize,
    },
    /// No number.
    Number,
    /// A number that is too large.
    TooLarge {
        /// The largest.
        max: u64,
    },
    /// A number that is too small.
    TooSmall {
        /// The smallest.
        min: i64,
    },
    /// No switch.
    Switch,
    /// No CPU mask.
    CpuMask,
    /// A CPU mask with CPUs that are not there.
    NoSuchCpu {
        /// How many there are.
        cpus: usize,
    },
    /// A LUN that is too large.
    LunTooLarge,
    /// A path that is not absolute.
    NotAbsolute,
    /// A text that is not one line of what can be printed.
    NotOneLine,
    /// A block size that is no power of two or out of bounds.
    BlockSize,
    /// A size that is no multiple of the block size.
    NotMultiple {
        /// The block size.
        of: u32,
    },
    /// A parameter that needs another.
    Needs(&'static str),
    /// A parameter that excludes another.
    Excludes(&'static str),
}

/// A mistake: what, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error<'a> {
    /// What is wrong.
    pub wrong: Wrong,
    /// The piece of the text that is wrong; may be empty.
    pub piece: &'a str,
}

impl<'a> Error<'a> {
    /// `piece` is wrong in this way.
    pub const fn new(wrong: Wrong, piece: &'a str) -> Self {
        Self { wrong, piece }
    }

    /// The errno to fail the write with.
    pub fn errno(&self) -> Errno {
        self.wrong.errno()
    }
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let piece = self.piece;
        match self.wrong {
            Wrong::NotText => f.write_str("not valid text: UTF-8 expected"),
            Wrong::Missing(what) if piece.is_empty() => write!(f, "{what} required"),
            Wrong::Missing(what) => write!(f, "{what} required after \"{piece}\""),
            Wrong::Surplus => write!(f, "unexpected \"{piece}\": the command is complete without it"),
            Wrong::UnknownCommand { known } => {
                write!(f, "unknown action \"{piece}\": one of {known} expected")
            }
            Wrong::UnknownParameter { known } => {
                write!(f, "unknown parameter \"{piece}\": available are {known}")
            }
            Wrong::NotOneOf(known) => write!(f, "unknown value \"{piece}\": one of {known} expected"),
            Wrong::NoValue => write!(f, "parameter \"{piece}\" has no value: {piece}=VALUE expected"),
            Wrong::OpenQuote => write!(f, "quotation mark is not closed in {piece}"),
            Wrong::NameCharacter => write!(
                f,
                "\"{piece}\" is no valid name: printable characters other than '/' expected"
            ),
            Wrong::TooLong { max } => write!(f, "\"{piece}\" is too long: at most {max} bytes"),
            Wrong::Number => {
                write!(f, "\"{piece}\" is no number: decimal, 0x hexadecimal or 0 octal expected")
            }
            Wrong::TooLarge { max } => write!(f, "{piece} is too large: at most {max}"),
            Wrong::TooSmall { min } => write!(f, "{piece} is too small: at least {min}"),
            Wrong::Switch => write!(f, "\"{piece}\" is no switch: 0 or 1 expected"),
            Wrong::CpuMask => write!(
                f,
                "\"{piece}\" is no CPU mask: hexadecimal groups of 32 bits separated by commas expected"
            ),
            Wrong::NoSuchCpu { cpus } => {
                write!(f, "CPU mask {piece} has CPUs that are not there: there are {cpus}")
            }
            Wrong::LunTooLarge => {
                write!(f, "too big LUN {piece}: at most {}", crate::lun::MAX_LUN)
            }
            // The piece would break the log line as well.
            Wrong::NotOneLine => f.write_str("the text has characters that cannot be printed"),
            Wrong::NotAbsolute => write!(f, "file name \"{piece}\" is not absolute: it must begin with '/'"),
            Wrong::BlockSize => write!(
                f,
                "blocksize {piece} is not possible: a power of two from {} to {} expected",
                crate::options::MIN_BLOCK_SIZE,
                crate::options::MAX_BLOCK_SIZE
            ),
            Wrong::NotMultiple { of } => {
                write!(f, "size {piece} is no multiple of the block size {of}")
            }
            Wrong::Needs(other) => write!(f, "{piece} is not possible without {other}"),
            Wrong::Excludes(other) => write!(f, "{piece} is not possible together with {other}"),
        }
    }
}

/// A pattern for one character. The standard library's search for a `char` has a slice index that may panic as far as
/// the compiler can see; its search with a predicate has none.
pub(crate) fn is(wanted: char) -> impl Fn(char) -> bool + Copy {
    move |c| c == wanted
}

/// The text of a sysfs write, without the white space at its ends.
pub fn text(bytes: &[u8]) -> Result<&str, Error<'static>> {
    match core::str::from_utf8(bytes) {
        Ok(text) => Ok(text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0')),
        Err(_) => Err(Error::new(Wrong::NotText, "")),
    }
}

/// A text that can be shown, and saved, as one line.
pub fn one_line(text: &str) -> Result<&str, Error<'_>> {
    match text.contains(char::is_control) {
        false => Ok(text),
        true => Err(Error::new(Wrong::NotOneLine, text)),
    }
}

/// An absolute path.
pub fn absolute(text: &str) -> Result<&str, Error<'_>> {
    if !text.starts_with('/') {
        return Err(Error::new(Wrong::NotAbsolute, text));
    }
    one_line(text)
}

/// A cursor over the words of a line.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    rest: &'a str,
    last: &'a str,
}

impl<'a> Words<'a> {
    /// The words of `line`.
    pub fn new(line: &'a str) -> Self {
        Self {
            rest: line.trim_ascii(),
            last: "",
        }
    }

    /// The next word, or that `what` is missing.
    pub fn required(&mut self, what: &'static str) -> Result<&'a str, Error<'a>> {
        let after = self.last;
        self.next().ok_or(Error::new(Wrong::Missing(what), after))
    }

    /// The next word as a valid name.
    pub fn name(&mut self, what: &'static str) -> Result<&'a str, Error<'a>> {
        valid_name(self.required(what)?)
    }

    /// All that is left, without the white space at its ends.
    pub fn rest(self) -> &'a str {
        self.rest
    }

    /// That nothing is left.
    pub fn end(self) -> Result<(), Error<'a>> {
        match self.rest {
            "" => Ok(()),
            rest => Err(Error::new(Wrong::Surplus, rest)),
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (word, rest) = match self.rest.split_once(|c: char| c.is_ascii_whitespace()) {
            Some((word, rest)) => (word, rest.trim_ascii_start()),
            None => (self.rest, ""),
        };
        self.rest = rest;
        self.last = word;
        Some(word)
    }
}

/// The most bytes of a name: it becomes a file name.
pub const MAX_NAME: usize = 255;

/// A name that can be a directory in sysfs: printable, no `/`, neither `.` nor `..`.
pub fn valid_name(name: &str) -> Result<&str, Error<'_>> {
    if name.is_empty() {
        return Err(Error::new(Wrong::Missing("name"), ""));
    }
    if name.len() > MAX_NAME {
        return Err(Error::new(Wrong::TooLong { max: MAX_NAME }, name));
    }
    let bad = |c: char| c == '/' || c.is_control() || c.is_whitespace();
    if name == "." || name == ".." || name.contains(bad) {
        return Err(Error::new(Wrong::NameCharacter, name));
    }
    Ok(name)
}

/// Where a SCSI device of this machine is: `HOST:CHANNEL:ID:LUN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Number of the host.
    pub host: u32,
    /// The host's bus.
    pub channel: u32,
    /// The target on the bus.
    pub id: u32,
    /// The logical unit of the target.
    pub lun: u64,
}

impl Address {
    /// Four decimal numbers with colons between; without signs, spaces and leading zeros, so that each device has one
    /// name.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(is(':')).map(|part| {
            let digits = part.bytes().all(|b| b.is_ascii_digit());
            let plain = digits && (part == "0" || !part.starts_with('0'));
            if plain {
                part.parse::<u64>().ok()
            } else {
                None
            }
        });
        let mut next = || parts.next().flatten();
        let small = |n: u64| u32::try_from(n).ok();
        let address = Self {
            host: small(next()?)?,
            channel: small(next()?)?,
            id: small(next()?)?,
            lun: next()?,
        };
        match parts.next() {
            None => Some(address),
            Some(_) => None,
        }
    }
}

/// One `name=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// What stands before the `=`.
    pub name: &'a str,
    /// What stands behind it, without quotation marks.
    pub value: &'a str,
}

/// An iterator over `name=value; name=value`. It ends after an error.
///
/// Empty parts, as after a last semicolon, are skipped.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    rest: &'a str,
}

impl<'a> Params<'a> {
    /// The parameters in `text`.
    pub fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// Reads one parameter from the non-empty `text`: it, and what follows its semicolon.
    fn take(text: &'a str) -> Result<(Param<'a>, &'a str), Error<'a>> {
        let part = text.split(is(';')).next().unwrap_or(text);
        let Some((name, after)) = text
            .split_once(is('='))
            .filter(|(name, _)| !name.contains(is(';')))
        else {
            return Err(Error::new(Wrong::NoValue, part.trim_ascii()));
        };
        let name = name.trim_ascii();
        if name.is_empty() {
            return Err(Error::new(Wrong::Missing("parameter name"), ""));
        }
        if name.contains(|c: char| c.is_ascii_whitespace()) {
            return Err(Error::new(Wrong::NoValue, name));
        }
        let after = after.trim_ascii_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, rest) = match quote {
            Some(quote) => {
                let inner = after.strip_prefix(quote).unwrap_or(after);
                let (value, rest) = inner
                    .split_once(is(quote))
                    .ok_or(Error::new(Wrong::OpenQuote, after))?;
                match rest.split_once(is(';')).unwrap_or((rest, "")) {
                    (between, rest) if between.trim_ascii().is_empty() => (value, rest),
                    (between, _) => return Err(Error::new(Wrong::Surplus, between.trim_ascii())),
                }
            }
            None => {
                let (value, rest) = after.split_once(is(';')).unwrap_or((after, ""));
                (value.trim_ascii(), rest)
            }
        };
        if quote.is_none() && value.contains(|c: char| c.is_ascii_whitespace()) {
            let surplus = value
                .split_once(|c: char| c.is_ascii_whitespace())
                .map_or(value, |(_, r)| r);
            return Err(Error::new(Wrong::Surplus, surplus.trim_ascii()));
        }
        Ok((Param { name, value }, rest))
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Result<Param<'a>, Error<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self
            .rest
            .trim_start_matches(|c: char| c == ';' || c.is_ascii_whitespace());
        if text.is_empty() {
            self.rest = "";
            return None;
        }
        match Self::take(text) {
            Ok((param, rest)) => {
                self.rest = rest;
                Some(Ok(param))
            }
            Err(e) => {
                self.rest = "";
                Some(Err(e))
            }
        }
    }
}
