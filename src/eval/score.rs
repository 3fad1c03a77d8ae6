//! What transcripts are worth: error rates by recording, by language and in all, how sure they are, and how the ways of
//! transcribing differ.
//!
//! A rate is the sum of the errors over the sum of the words (or characters), after Whisper's normalisation. Intervals
//! come from the bootstrap: recordings are drawn with replacement, the same ones for all ways, so that differences have
//! intervals of their own.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use undertone_runner::language;
use undertone_runner::normalise::{Basic, Edit, English, character_errors, edits};

use super::list::Entry;

/// Draws of the bootstrap.
const DRAWS: usize = 2000;

/// The texts of all recordings in one way.
pub struct Column {
    /// The device and its arithmetic, or another program.
    pub name: String,
    /// In the order of the recordings.
    pub texts: Vec<String>,
    /// Seconds of audio per second, if it ran here.
    pub speed: Option<f64>,
}

/// How texts are made comparable.
pub struct Normalisers {
    /// `None`: English is treated like all other languages.
    pub english: Option<English>,
    /// Whether all texts are English, whatever is spoken.
    pub into_english: bool,
}

impl Normalisers {
    /// The text as it is compared; where its language puts no blanks between words, each letter is one.
    fn apply(&self, language: Option<&str>, text: &str) -> String {
        let english = self.into_english || language == Some("en");
        match &self.english {
            Some(normaliser) if english => normaliser.apply(text),
            _ => Basic { split_letters: self.by_letter(language), ..Basic::default() }.apply(text),
        }
    }

    fn by_letter(&self, language: Option<&str>) -> bool {
        !self.into_english && language.is_some_and(|code| !language::has_blanks(code))
    }
}

/// Errors, and how many words or characters there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub errors: usize,
    pub total: usize,
}

impl Count {
    /// In percent; `None` of nothing.
    pub fn rate(self) -> Option<f64> {
        (self.total > 0).then(|| 100.0 * self.errors as f64 / self.total as f64)
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.errors += other.errors;
        self.total += other.total;
    }
}

/// A rate, how sure it is, and its difference from the first way's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measure {
    #[serde(flatten)]
    pub count: Count,
    /// In percent.
    #[serde(serialize_with = "rounded")]
    pub rate: Option<f64>,
    /// Bounds of the rate, 95 %, in percent; `None` where nothing is said.
    pub interval: Option<[f64; 2]>,
    /// Bounds of its difference from the first way's, 95 %, in points; `None` where nothing is said.
    pub difference_interval: Option<[f64; 2]>,
}

fn rounded<S: Serializer>(rate: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    rate.map(to_hundredths).serialize(serializer)
}

fn to_hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Recordings in a language, or all.
#[derive(Debug, Serialize)]
pub struct Group {
    /// The code; `None` of all together, `?` where nobody knows.
    pub language: Option<String>,
    /// Whether the words are letters, since the language puts no blanks between words.
    pub by_letter: bool,
    pub recordings: usize,
    /// One for each way.
    pub words: Vec<Measure>,
    /// One for each way.
    pub characters: Vec<Measure>,
}

/// A way of transcribing.
#[derive(Debug, Serialize)]
pub struct Way {
    pub name: String,
    /// Recordings whose text is not the first way's.
    pub other_texts: usize,
    pub times_real_time: Option<f64>,
}

/// A recording's text in one way.
#[derive(Debug, Serialize)]
pub struct Version {
    pub text: String,
    pub normalised: String,
    pub words: Count,
    pub characters: Count,
    pub substituted: usize,
    pub deleted: usize,
    pub inserted: usize,
}

/// A recording.
#[derive(Debug, Serialize)]
pub struct Recording {
    pub file: String,
    pub line: usize,
    pub language: Option<String>,
    pub by_letter: bool,
    pub text: String,
    pub normalised: String,
    /// One for each way.
    pub versions: Vec<Version>,
}

impl Recording {
    fn new(entry: &Entry, texts: &[&str], normalisers: &Normalisers) -> Self {
        let language = entry.language.as_deref();
        let normalised = normalisers.apply(language, &entry.text);
        let version = |text: &&str| {
            let heard = normalisers.apply(language, text);
            let words = |text| -> Vec<&str> { str::split_whitespace(text).collect() };
            let steps = edits(&words(&normalised), &words(&heard));
            let count = |kind: fn(&Edit<'_>) -> bool| steps.iter().filter(|step| kind(step)).count();
            let same = count(|step| matches!(step, Edit::Same(_)));
            let substituted = count(|step| matches!(step, Edit::Substituted(..)));
            let deleted = count(|step| matches!(step, Edit::Deleted(_)));
            let (errors, total) = character_errors(&normalised, &heard);
            Version {
                words: Count { errors: steps.len() - same, total: same + substituted + deleted },
                characters: Count { errors, total },
                substituted,
                deleted,
                inserted: count(|step| matches!(step, Edit::Inserted(_))),
                text: (*text).to_owned(),
                normalised: heard,
            }
        };
        Self {
            versions: texts.iter().map(version).collect(),
            file: entry.file.clone(),
            line: entry.line,
            language: entry.language.clone(),
            by_letter: normalisers.by_letter(language),
            text: entry.text.clone(),
            normalised,
        }
    }
}

/// What came out.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `whisper` or `basic`.
    pub normalizer: &'static str,
    /// How many words of English are spelt anew.
    pub spellings: usize,
    pub ways: Vec<Way>,
    /// By code.
    pub languages: Vec<Group>,
    pub all: Group,
    pub recordings: Vec<Recording>,
}

impl Report {
    /// Counts; there is at least one column, and each has a text for each entry.
    pub fn new(entries: &[Entry], columns: &[Column], normalisers: &Normalisers) -> Self {
        let recording = |(index, entry): (usize, &Entry)| {
            let texts: Vec<&str> = columns.iter().map(|column| column.texts[index].as_str()).collect();
            Recording::new(entry, &texts, normalisers)
        };
        let recordings: Vec<Recording> = entries.iter().enumerate().map(recording).collect();
        let mut languages: BTreeMap<&str, Vec<&Recording>> = BTreeMap::new();
        for recording in &recordings {
            languages.entry(recording.language.as_deref().unwrap_or("?")).or_default().push(recording);
        }
        let of_language = |(code, recordings): (&str, Vec<&Recording>)| group(Some(code.to_owned()), &recordings);
        let way = |column: &Column| Way {
            name: column.name.clone(),
            other_texts: column.texts.iter().zip(&columns[0].texts).filter(|(a, b)| a.trim() != b.trim()).count(),
            times_real_time: column.speed,
        };
        Self {
            normalizer: if normalisers.english.is_some() { "whisper" } else { "basic" },
            spellings: normalisers.english.as_ref().map_or(0, |english| english.spellings().count()),
            ways: columns.iter().map(way).collect(),
            languages: languages.into_iter().map(of_language).collect(),
            all: group(None, &recordings.iter().collect::<Vec<_>>()),
            recordings,
        }
    }

    /// The recordings with more wrong words in `way` than in the first one, those with the most more first; of the first
    /// way, if it is alone, those with the most wrong words.
    pub fn worst(&self, way: usize) -> Vec<&Recording> {
        let excess = |recording: &&Recording| -> usize {
            let errors = |way: usize| recording.versions[way].words.errors;
            if way == 0 { errors(0) } else { errors(way).saturating_sub(errors(0)) }
        };
        let mut worst: Vec<&Recording> = self.recordings.iter().filter(|recording| excess(recording) > 0).collect();
        worst.sort_by_key(|recording| std::cmp::Reverse(excess(recording)));
        worst
    }
}

fn group(language: Option<String>, recordings: &[&Recording]) -> Group {
    let counts = |of: fn(&Version) -> Count| -> Vec<Vec<Count>> {
        recordings.iter().map(|recording| recording.versions.iter().map(of).collect()).collect()
    };
    Group {
        language,
        by_letter: recordings.iter().all(|recording| recording.by_letter),
        recordings: recordings.len(),
        words: measures(&counts(|version| version.words)),
        characters: measures(&counts(|version| version.characters)),
    }
}

/// Of `[recordings][ways]`, one for each way.
fn measures(counts: &[Vec<Count>]) -> Vec<Measure> {
    let ways = counts.first().map_or(0, Vec::len);
    let sums = |drawn: &mut dyn Iterator<Item = usize>| {
        let mut sums = vec![Count::default(); ways];
        drawn.for_each(|index| sums.iter_mut().zip(&counts[index]).for_each(|(sum, &count)| *sum += count));
        sums
    };
    // The draws are the same at each call with as many recordings.
    let mut random = fastrand::Rng::with_seed(1);
    let (mut rates, mut differences) = (vec![Vec::with_capacity(DRAWS); ways], vec![Vec::with_capacity(DRAWS); ways]);
    for _ in 0..DRAWS {
        let drawn = sums(&mut (0..counts.len()).map(|_| random.usize(..counts.len())));
        // Recordings of which no words are known may be drawn alone.
        let drawn: Vec<f64> = drawn.into_iter().filter_map(Count::rate).collect();
        for (way, rate) in drawn.iter().enumerate() {
            rates[way].push(*rate);
            differences[way].push(rate - drawn[0]);
        }
    }
    let all = sums(&mut (0..counts.len()));
    let measure = |(count, (rates, differences)): (Count, (Vec<f64>, Vec<f64>))| Measure {
        count,
        rate: count.rate(),
        interval: middle(rates),
        difference_interval: middle(differences),
    };
    all.into_iter().zip(rates.into_iter().zip(differences)).map(measure).collect()
}

/// The bounds of the middle 95 % of values; `None` of none.
fn middle(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get((values.len() as f64 * share) as usize).copied();
    Some([at(0.025)?, at(0.975)?].map(to_hundredths))
}

#[cfg(test)]
pub(super) mod tests {
    use undertone_runner::normalise::Spellings;

    use super::*;

    pub fn entry(language: &str, text: &str) -> Entry {
        Entry {
            file: format!("{text}.flac"),
            path: "x".into(),
            part: None,
            text: text.to_owned(),
            language: Some(language.to_owned()),
            line: 1,
        }
    }

    pub fn column(name: &str, texts: &[&str]) -> Column {
        Column { name: name.to_owned(), texts: texts.iter().map(|&text| text.to_owned()).collect(), speed: None }
    }

    pub fn normalisers() -> Normalisers {
        Normalisers { english: Some(English::new(Spellings::none())), into_english: false }
    }

    fn count(errors: usize, total: usize) -> Count {
        Count { errors, total }
    }

    #[test]
    fn errors_are_summed_by_language_and_over_all() {
        let entries = [entry("de", "eins zwei drei vier"), entry("en", "Mr. Hill"), entry("en", "don't go")];
        let columns = [
            column("a", &["Eins, zwei, drei, vier.", " Mister Hill.", "Do not go"]),
            column("b", &["eins zwei vier", "Mister Hell", "do go now"]),
        ];
        let report = Report::new(&entries, &columns, &normalisers());
        let of = |group: &Group| group.words.iter().map(|measure| measure.count).collect::<Vec<_>>();
        assert_eq!(of(&report.all), [count(0, 9), count(4, 9)]);
        assert_eq!(
            report.languages.iter().map(|group| group.language.as_deref().unwrap()).collect::<Vec<_>>(),
            ["de", "en"]
        );
        assert_eq!(
            (of(&report.languages[0]), of(&report.languages[1])),
            (vec![count(0, 4), count(1, 4)], vec![count(0, 5), count(3, 5)])
        );
        assert_eq!(report.languages[0].characters[1].count, count(4, 16));
        assert_eq!((report.ways[0].other_texts, report.ways[1].other_texts), (0, 3));
        let version = &report.recordings[2].versions[1];
        assert_eq!((version.substituted, version.deleted, version.inserted), (0, 1, 1));
        assert_eq!(report.worst(1)[0].file, "don't go.flac");
        assert!(report.worst(0).is_empty());
        // Without Whisper's normaliser of English the same words are others.
        let basic = Report::new(&entries, &columns, &Normalisers { english: None, into_english: false });
        assert_eq!(of(&basic.languages[1])[0], count(3, 5));
        // A translation is English, whatever is spoken.
        let translated = Report::new(
            &[entry("de", "I'm here")],
            &[column("a", &["I am here"])],
            &Normalisers { into_english: true, ..normalisers() },
        );
        assert_eq!(of(&translated.all), [count(0, 3)]);
    }

    #[test]
    fn letters_are_counted_where_no_blanks_are_written() {
        let report = Report::new(&[entry("ja", "今日は、晴れ。")], &[column("a", &["今日も 晴れ"])], &normalisers());
        let group = &report.languages[0];
        assert_eq!(
            (group.by_letter, group.words[0].count, group.characters[0].count),
            (true, count(1, 5), count(1, 5))
        );
    }

    #[test]
    fn words_of_silence_count_and_have_no_rate() {
        let report = Report::new(
            &[entry("en", ""), entry("en", "a lion")],
            &[column("a", &["Thank you.", "a lion"])],
            &normalisers(),
        );
        assert_eq!(report.recordings[0].versions[0].words, count(2, 0));
        assert_eq!((report.all.words[0].count, report.all.words[0].rate), (count(2, 2), Some(100.0)));
        let silent = Report::new(&[entry("en", "")], &[column("a", &[""])], &normalisers());
        assert_eq!((silent.all.words[0].rate, silent.all.words[0].interval), (None, None));
    }

    #[test]
    fn intervals_hold_the_rate_and_shrink_with_the_count() {
        let of = |count: usize| {
            let entries: Vec<Entry> = (0..count).map(|_| entry("de", "eins zwei drei vier")).collect();
            let texts: Vec<&str> =
                (0..count).map(|i| if i % 2 == 0 { "eins zwei drei" } else { "eins zwei drei vier" }).collect();
            Report::new(&entries, &[column("a", &texts)], &normalisers()).all.words[0]
        };
        let (few, many) = (of(10), of(400));
        let bounds = |measure: &Measure| measure.interval.map(|[low, high]| (low, high)).unwrap();
        let holds = |measure: &Measure| {
            bounds(measure).0 <= measure.rate.unwrap() && measure.rate.unwrap() <= bounds(measure).1
        };
        assert!(holds(&few) && holds(&many), "{few:?} {many:?}");
        let width = |measure: &Measure| bounds(measure).1 - bounds(measure).0;
        assert!(width(&many) < width(&few) / 3.0, "{few:?} {many:?}");
    }

    #[test]
    fn differences_are_of_the_same_recordings() {
        // Both are wrong in the same half, the second by one word more in each: the rates vary, their difference less.
        let entries: Vec<Entry> = (0..40).map(|_| entry("de", "eins zwei drei vier")).collect();
        let half = |some: &'static str, others: &'static str| -> Vec<&str> {
            (0..40).map(|i| if i < 20 { some } else { others }).collect()
        };
        let columns =
            [column("a", &half("eins zwei", "eins zwei drei vier")), column("b", &half("eins", "eins zwei drei"))];
        let report = Report::new(&entries, &columns, &normalisers());
        let [first, second] = [report.all.words[0], report.all.words[1]];
        assert_eq!((first.rate, second.rate), (Some(25.0), Some(50.0)));
        assert_eq!((first.difference_interval, second.difference_interval), (Some([0.0, 0.0]), Some([25.0, 25.0])));
        assert!(second.interval.is_some_and(|[low, high]| high - low > 10.0), "{second:?}");
    }
}
