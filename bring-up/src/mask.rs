//! Masks numbers that name one machine: addresses of networks, UUIDs, serial numbers.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What ends a word that may be such a number. A colon and a dash are within them.
const ENDS: &[char] = &['\'', '"', '`', ',', ';', '=', '(', ')', '[', ']', '{', '}', '<', '>', '|', '/', '%'];

/// A text without such numbers.
pub(crate) fn masked(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || ENDS.contains(&c);
    let mut serial = Serial::No;
    let words = text.split_inclusive(ends).map(|whole| {
        let word = whole.trim_end_matches(ends);
        let number = word.trim_end_matches([':', '.']);
        // `serial:X` is one word to the eye, and its value begins after the colon.
        let (before, value) = number.split_once(':').filter(|(key, _)| names_serial(key)).unwrap_or(("", number));
        if !before.is_empty() {
            serial = Serial::Named;
        }
        let mask = serial.mask(value).or_else(|| kind(number));
        match mask {
            Some(mask) if before.is_empty() => mask.to_owned() + &whole[number.len()..],
            Some(mask) => format!("{before}:{mask}{}", &whole[number.len()..]),
            None => whole.to_owned(),
        }
    });
    words.collect()
}

/// Whether a serial number is awaited.
enum Serial {
    No,
    Named,
}

impl Serial {
    /// What stands in the place of `word`, if that is the serial number.
    fn mask(&mut self, word: &str) -> Option<&'static str> {
        let named = std::mem::replace(self, Self::No);
        if names_serial(word) {
            *self = Self::Named;
        } else if matches!(named, Self::Named) {
            if word.len() >= 4 && word.bytes().any(|byte| byte.is_ascii_digit()) {
                return Some("SERIAL");
            }
            // Words between: `serial number is X`.
            if ["", "number", "no", "is", "#", "n"].contains(&word.to_lowercase().as_str()) {
                *self = Self::Named;
            }
        }
        None
    }
}

fn names_serial(word: &str) -> bool {
    let word = word.to_lowercase();
    word == "sn" || word == "s" || word.starts_with("serial") && word.len() <= "serial_number".len()
}

/// Which of the numbers a word is.
fn kind(word: &str) -> Option<&'static str> {
    let hex = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lengths = |separator: char| -> Option<Vec<usize>> {
        word.split(separator).map(|part| hex(part).then_some(part.len())).collect()
    };
    if [':', '-'].iter().any(|separator| lengths(*separator).is_some_and(|all| all == [2; 6])) {
        return Some("MAC");
    }
    // The machine's own number has no dashes.
    if lengths('-').is_some_and(|all| all == [8, 4, 4, 4, 12] || all == [32]) {
        return Some("UUID");
    }
    let (four, _) = word.split_once(':').unwrap_or((word, ""));
    // Versions of firmware have four parts too, and begin with a small number or 255.
    let is_four = four.parse::<Ipv4Addr>().is_ok_and(|address| (10..240).contains(&address.octets()[0]));
    let is_six = word.len() > 2 && word.parse::<Ipv6Addr>().is_ok();
    (is_four || is_six).then_some("IP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_one_machine_go_and_others_stay() {
        for (text, expected) in [
            ("eth0: 3c:7c:3f:aa:bb:cc up", "eth0: MAC up"),
            ("peer 192.168.1.20:8080, fe80::1%eth0 and (10.0.0.7).", "peer IP, IP%eth0 and (IP)."),
            ("uuid=123e4567-e89b-12d3-a456-426614174000;", "uuid=UUID;"),
            ("machine 0123456789abcdef0123456789abcdef", "machine UUID"),
            ("Serial Number: PF3ABC12, next", "Serial Number: SERIAL, next"),
            ("serial=PF3ABC12 serial:PF3ABC13 S/N: 5CD1234XYZ", "serial=SERIAL serial:SERIAL S/N: SERIAL"),
            ("a serial of four words", "a serial of four words"),
            (
                "amdxdna 0000:c5:00.1: firmware 1.1.2.64, driver 32.0.203.314, at 10:31:07",
                "amdxdna 0000:c5:00.1: firmware 1.1.2.64, driver 32.0.203.314, at 10:31:07",
            ),
            ("255.0.11.71 [    3.141593] std::bad_alloc ::", "255.0.11.71 [    3.141593] std::bad_alloc ::"),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
    }
}
