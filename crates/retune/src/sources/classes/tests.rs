use super::*;
use crate::sources::source::tests::memory_dataset;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// One image of each class, in the order given.
fn data(classes: &[&str]) -> Dataset {
    let labels: Vec<usize> = (0..classes.len()).collect();
    Dataset { classes: names(classes), root: "data".into(), ..memory_dataset(&labels, 2, 2) }
}

/// The labels that the images get, and what decided.
fn matched(classes: &[&str], known: &ClassList) -> (Vec<usize>, ClassMatch) {
    let (dataset, how) = data(classes).match_classes(known).unwrap();
    (dataset.labels().unwrap(), how)
}

fn refused(classes: &[&str], known: &ClassList) -> String {
    data(classes).match_classes(known).unwrap_err().to_string()
}

#[test]
fn names_decide_where_there_are_some_and_unknown_ones_are_named() {
    let known = ClassList::named(names(&["dog", "eel", "cat"]));
    assert_eq!(matched(&["cat", "dog"], &known), (vec![2, 0], ClassMatch::ByName));
    assert_eq!(ClassMatch::ByName.note(), None);
    let (dataset, _) = data(&["cat", "dog"]).match_classes(&known).unwrap();
    assert_eq!(dataset.classes, ["dog", "eel", "cat"]);
    assert_eq!(
        refused(&["bird", "cat"], &known),
        "data has the class `bird`, which is none of the model's classes: dog, eel, cat"
    );
    // A class without images does not matter.
    let mut without = data(&["bird", "cat"]);
    without.samples.remove(0);
    assert_eq!(without.match_classes(&known).unwrap().0.labels().unwrap(), [2]);
    let twice = ClassList::named(names(&["crane", "crane"]));
    assert!(refused(&["crane"], &twice).contains("several of the model's classes are called so (number 0, number 1)"));
}

#[test]
fn numbers_are_class_numbers_of_a_model_without_names() {
    let unnamed = ClassList::unnamed(12);
    let sorted_as_text = ["0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"];
    let (labels, how) = matched(&sorted_as_text, &unnamed);
    assert_eq!(labels, [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(how.to_string(), "the model names no classes; the data's classes 0 … 11 are taken as class numbers");
    let (dataset, _) = data(&sorted_as_text).match_classes(&unnamed).unwrap();
    assert_eq!(dataset.classes, (0..12).map(|class| class.to_string()).collect::<Vec<_>>());
    assert_eq!(matched(&["03", "11"], &unnamed).0, [3, 11]);
    let (dataset, _) = data(&["03", "11"]).match_classes(&unnamed).unwrap();
    assert_eq!((dataset.classes[0].as_str(), dataset.classes[3].as_str()), ("00", "03"));
    // What a table with gaps makes of whole numbers.
    assert_eq!(matched(&["0.0", "2.0"], &unnamed).0, [0, 2]);
    assert_eq!(
        refused(&["0", "12"], &unnamed),
        "data has the class `12`, but the model has 12 classes without names, whose numbers go from 0 to 11"
    );
    assert!(refused(&["3", "03"], &unnamed).contains("`3` and `03`, which are both the model's class"));
}

#[test]
fn numbers_from_one_and_names_go_by_position_with_a_word() {
    let (labels, how) = matched(&["1", "10", "2", "3", "4", "5", "6", "7", "8", "9"], &ClassList::unnamed(10));
    assert_eq!(labels, [0, 9, 1, 2, 3, 4, 5, 6, 7, 8]);
    let note = how.note().unwrap().to_string();
    assert!(note.ends_with("1 … 10 are taken in the order of their numbers, 1 as class number 0"), "{note}");
    let (labels, how) = matched(&["ant", "bee"], &ClassList::unnamed(2));
    assert_eq!(labels, [0, 1]);
    let note = how.note().unwrap().to_string();
    assert!(note.contains("position decides") && note.contains("`ant` … `bee`"), "{note}");
    assert_eq!(
        refused(&["ant", "bee"], &ClassList::unnamed(3)),
        "data has 2 classes, and the model has 3 and does not name them"
    );
}

#[test]
fn names_that_are_numbers_are_matched_by_value() {
    // A model that was trained on folders 0 … 11 has them in the order of text.
    let known = ClassList::named(names(&["0", "1", "10", "11", "2"]));
    assert_eq!(matched(&["10", "2"], &known), (vec![2, 4], ClassMatch::ByName));
    let (labels, how) = matched(&["00", "02", "11"], &known);
    assert_eq!(labels, [0, 4, 3]);
    assert_eq!(
        how.note().unwrap().to_string(),
        "classes that are numbers are matched by value: `00` is the model's `0`"
    );
    assert!(refused(&["3"], &known).contains("`3`, which is none"));
}

/// Three classes of ImageNet-1k under their ids, presumed or not.
fn wordnet() -> ClassList {
    let ids = ["n01440764", "n02012849", "n03126707"];
    ClassList::of_wordnet(names(&ids), names(&["tench, Tinca tinca", "crane", "crane"]))
}

#[test]
fn wordnets_classes_are_matched_by_id_then_name_then_number() {
    let known = wordnet();
    assert_eq!(matched(&["n01440764", "n03126707"], &known), (vec![0, 2], ClassMatch::ByWordNetId { presumed: None }));
    let (labels, how) = matched(&["n03126707", "tench"], &known);
    assert_eq!(labels, [2, 0]);
    assert_eq!(how.to_string(), "the classes are matched by WordNet's names: `tench` is n01440764");
    assert_eq!(matched(&["0", "2"], &known).0, [0, 2]);
    assert!(refused(&["crane", "tench"], &known).contains("(n02012849, n03126707)"));
    let message = refused(&["n01440764", "n00000001"], &known);
    assert!(message.contains("`n00000001`, which is neither the WordNet id nor the name"), "{message}");
    // Numbers count from 0 where the model has names of its own.
    assert!(refused(&["1", "2", "3"], &known).contains("`3`"));
}

#[test]
fn a_presumed_label_set_gives_way_to_data_of_as_many_other_classes() {
    let known = wordnet().presumed("ImageNet-1k", true);
    let how = matched(&["n01440764"], &known).1;
    assert_eq!(
        how.note().unwrap().to_string(),
        "the model names no classes; they are taken for those of ImageNet-1k, by their number, and matched by WordNet id"
    );
    assert_eq!(matched(&["n01440764"], &wordnet().presumed("ImageNet-1k", false)).1.note(), None);
    assert_eq!(matched(&["ant", "bee", "tench"], &known).0, [0, 1, 2]);
    assert_eq!(matched(&["1", "2", "3"], &known).0, [0, 1, 2]);
    let message = refused(&["ant", "bee"], &known);
    assert!(message.ends_with("the model's 3 classes, those of ImageNet-1k"), "{message}");
    // What has an id of the set is of the set.
    assert!(refused(&["ant", "bee", "n01440764"], &known).contains("`ant`"));
}

#[test]
fn unknown_classes_can_be_left_out_with_a_word_unless_nothing_is_left() {
    let dataset = data(&["bird", "cat"]);
    let known = ClassList::named(names(&["cat", "dog"]));
    let mapping = ClassMapping::leaving_out(&dataset.root, &dataset.classes, &[3, 1], &known).unwrap();
    assert_eq!(mapping.apply(&dataset).labels().unwrap(), [0]);
    let note = mapping.left_out().unwrap().to_string();
    assert_eq!(note, "the model does not know the data's class `bird`: its 3 images are left out");
    assert!(ClassMapping::leaving_out(&dataset.root, &dataset.classes, &[3, 0], &known).is_err());
}

#[test]
fn what_changed_in_a_list_is_said_in_words() {
    let change =
        |before: &[&str], now: &[&str]| ClassChange::between(&names(before), &names(now)).map(|it| it.to_string());
    assert_eq!(change(&["cat", "dog"], &["dog", "cat"]), None);
    assert_eq!(
        change(&["cat", "dog"], &["bird", "cat", "dog"]).unwrap(),
        "now has the class `bird`, which the run did not know"
    );
    assert_eq!(change(&["cat", "dog"], &["dog"]).unwrap(), "no longer has the class `cat`");
    assert_eq!(
        change(&["cat", "dog"], &["dog", "kitty"]).unwrap(),
        "now has the class `kitty`, which the run did not know, and no longer has the class `cat`"
    );
}
