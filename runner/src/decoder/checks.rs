//! What every decoder refuses: steps without a window or a sequence, and prompts, tokens and asks that do not go to its
//! rows. The errors are reasons, to be put behind the decoder's name.

/// # Errors
/// That there is no row.
pub(super) fn encoded(rows: usize) -> Result<(), String> {
    if rows == 0 { Err("no window was encoded before".to_owned()) } else { Ok(()) }
}

/// # Errors
/// That there is no sequence that could go on.
pub(super) fn started(started: bool) -> Result<(), String> {
    if started { Ok(()) } else { Err("a step was taken before a sequence was started".to_owned()) }
}

/// # Errors
/// That the prompts are not one for each row, all of one length.
pub(super) fn prompts(prompts: &[&[u32]], rows: usize) -> Result<(), String> {
    let equal = prompts.windows(2).all(|pair| pair[0].len() == pair[1].len());
    match prompts.len() == rows && equal {
        true => Ok(()),
        false => Err(format!("{} prompts, or not of one length, for {rows} rows", prompts.len())),
    }
}

/// # Errors
/// That there is not one ask for each row.
pub(super) fn asks(asks: usize, rows: usize) -> Result<(), String> {
    if asks == rows { Ok(()) } else { Err(format!("{asks} asks do not go to {rows} rows")) }
}

/// How many of `tokens` each row gets.
///
/// # Errors
/// That they are not as many for each.
pub(super) fn tokens_of_each(tokens: usize, rows: usize) -> Result<usize, String> {
    let count = tokens / rows.max(1);
    match count > 0 && tokens == count * rows {
        true => Ok(count),
        false => Err(format!("{tokens} tokens do not go to {rows} rows")),
    }
}
