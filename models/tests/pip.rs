//! OpenAI's weights out of Python packages.

#[path = "../../tests/common/weights.rs"]
mod weights;

#[test]
fn the_weights_come_whole_and_alone() {
    // Their checksums were compared when they were joined.
    for home in [weights::tiny_en(), weights::base()].into_iter().flatten() {
        let mut names: Vec<_> = std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["config.json", "model.bin", "tokenizer.json", "vocabulary.txt"], "{}", home.display());
    }
}
