//! Masks numbers that name one machine: addresses of networks, UUIDs, serial numbers.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What ends a word that may be such a number. A colon and a dash are within them.
const ENDS: &[char] = &['\'', '"', '`', ',', ';', '=', '(', ')', '[', ']', '{', '}', '<', '>', '|', '/', '%'];

/// Words that announce a serial number, and words between them and it.
const SERIAL: [&str; 6] = ["serial", "serials", "serialno", "serialnumber", "serial_number", "sn"];
const BETWEEN: [&str; 6] = ["", "number", "no", "is", "#", "n"];

/// A text without such numbers.
pub(crate) fn masked(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || ENDS.contains(&c);
    // Whether a serial number is announced.
    let mut awaited = false;
    let words = text.split_inclusive(ends).map(|whole| {
        let number = whole.trim_end_matches(ends).trim_end_matches([':', '.']);
        let lower = number.to_lowercase();
        if let Some(value) = SERIAL.iter().find_map(|key| lower.strip_prefix(key)?.strip_prefix(':')) {
            return format!("{}SERIAL{}", &number[..number.len() - value.len()], &whole[number.len()..]);
        }
        let announced = awaited && number.len() >= 4 && number.bytes().any(|byte| byte.is_ascii_digit());
        awaited = SERIAL.contains(&lower.as_str())
            || whole.eq_ignore_ascii_case("s/")
            || awaited && BETWEEN.contains(&lower.as_str());
        match kind(number).or(announced.then_some("SERIAL")) {
            Some(mask) => mask.to_owned() + &whole[number.len()..],
            None => whole.to_owned(),
        }
    });
    words.collect()
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
