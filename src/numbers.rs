//! Numbers on the command line, with errors in words.

/// A whole number, 0 or more.
pub fn count<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = text.parse().ok().and_then(|number: u64| T::try_from(number).ok());
    number.ok_or_else(|| "use a whole number, 0 or more".to_owned())
}

/// Any number.
pub fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "use a number".to_owned())
}
