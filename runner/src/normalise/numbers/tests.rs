//! The cases of openai/whisper's own tests (`tests/test_normalizer.py`), by what they show, and more at the edges; what
//! is expected is what the reference gives.

use super::Numbers;

fn check(cases: &[(&str, &str)]) {
    let numbers = Numbers::new();
    for (said, expected) in cases {
        assert_eq!(numbers.apply(said), *expected, "{said}");
    }
}

#[test]
fn small_numbers_are_added_or_set_side_by_side() {
    check(&[
        ("two", "2"),
        ("one", "one"),
        ("ones", "ones"),
        ("twenty one", "21"),
        ("thirty one", "31"),
        ("five twenty four", "524"),
        ("nineteen ninety nine", "1999"),
        ("twenty nineteen", "2019"),
        ("twenty twenty", "2020"),
        ("ten ten", "1010"),
        ("one two three", "123"),
        ("nine one one", "911"),
        ("fifty fifteen", "5015"),
        ("one hundred twelve", "112"),
        ("six hundred and five", "605"),
        ("", ""),
    ]);
}

#[test]
fn powers_multiply_what_is_before_them() {
    check(&[
        ("three billion", "3000000000"),
        ("three thousand twenty nine", "3029"),
        ("forty three thousand two hundred sixty", "43260"),
        ("forty three thousand two hundred and sixty", "43260"),
        ("two hundred thousand and one", "200001"),
        ("200 thousand", "200000"),
        ("two point five million", "2500000"),
        ("two point five five five hundred", "2.555 100"),
        ("zero million", "0"),
        ("0 million", "0"),
        ("hundred hundred", "10000"),
        ("a decillion", "a 1000000000000000000000000000000000"),
        ("two thousand decillion", "2000"),
        ("999 decillion", "999000000000000000000000000000000000"),
    ]);
}

#[test]
fn ordinals_and_plurals_end_a_number() {
    check(&[
        ("nineteen fifties", "1950s"),
        ("thirty first", "31st"),
        ("zeroth second third fifth", "0th 2nd 3rd 5th"),
        ("twelfth eighth twentieth", "12th 8th 20th"),
        ("sixes sevens thirties", "6s 7s 30s"),
        ("thirty three thousand and three hundred and thirty third", "33333rd"),
        ("two thousandth", "2000th"),
        ("thirty two thousandth", "32000th"),
        ("millions", "1000000s"),
        ("four point two billions", "4200000000s"),
        ("july third twenty twenty", "july 3rd 2020"),
        ("august twenty sixth twenty twenty one", "august 26th 2021"),
        // As there: the table has another word for it.
        ("ninth nineth", "ninth 9th"),
    ]);
}

#[test]
fn digits_and_points() {
    check(&[
        ("3 14", "3 14"),
        ("3.14", "3.14"),
        ("3.00", "3"),
        ("007", "7"),
        ("3 point 2", "3.2"),
        ("3 point 14", "3.14"),
        ("fourteen point 4", "14.4"),
        ("two point oh five", "2.05"),
        // As there: a 1 is spelt out for the eye, wherever it stands between marks.
        ("one point oh five", "one.05"),
        ("point five", ".5"),
        ("at this point in time", "at this point in time"),
        ("192 point 168 point 2", "192.168.2"),
        ("3 point hundred", "300"),
        ("٣ lions", "3 lions"),
    ]);
}

#[test]
fn digits_said_twice_or_three_times() {
    check(&[
        ("two double o eight", "2008"),
        ("double oh seven", "007"),
        ("double zero seven", "007"),
        ("nine double one", "911"),
        ("one triple oh one", "10001"),
        ("double twelve", "1212"),
        ("double trouble", "double trouble"),
        ("double thirty", "double 30"),
    ]);
}

#[test]
fn money_and_percent() {
    check(&[
        ("200 thousand dollars", "$200000"),
        ("$20 million", "$20000000"),
        ("€52.4 million", "€52400000"),
        ("£77 thousands", "£77000s"),
        ("two point two five dollars", "$2.25"),
        ("two hundred million dollars", "$200000000"),
        ("$20.1 million", "$20100000"),
        ("two dollars and seventy cents", "$2.70"),
        ("two dollars seven cents", "$2.07"),
        ("3 cents", "¢3"),
        ("$0.36", "¢36"),
        ("$0.365", "$0.365"),
        ("three euros and sixty five cents", "€3.65"),
        ("the dollar", "the dollar"),
        ("ninety percent", "90%"),
        ("seventy six per cent", "76%"),
        ("six per cent of percent", "6% of percent"),
        ("six per day", "6 per day"),
        ("minus six percent", "-6%"),
    ]);
}

#[test]
fn signs_stand_before_numbers_only() {
    check(&[
        ("minus 500", "-500"),
        ("positive twenty thousand", "+20000"),
        ("a negative answer", "a negative answer"),
        ("six minus two", "6 -2"),
        // Whatever comes next has the sign, as there.
        ("minus and then", "-and then"),
        ("minus six dollars", "$6"),
    ]);
}

#[test]
fn halves_and_the_edge_between_letters_and_digits() {
    check(&[
        ("three and a half million", "3500000"),
        ("forty eight and a half dollars", "$48.5"),
        ("a lion and a half", "a lion and a half"),
        ("two  and\na  half", "2.5"),
        ("and a half million", "1000000"),
        ("three and a halfling", "3 and a halfling"),
        ("b747", "b 747"),
        ("10 th", "10th"),
        ("10th", "10th"),
        ("10 sth", "10 sth"),
        ("1 1s 21 1_", "one ones 21 1_"),
    ]);
}
