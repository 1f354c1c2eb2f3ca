from textadv.corpus.columns import guess_columns

SAMPLE = {
    "id": ["1", "2", "3", "4", "5", "6"],
    "body": ["a long text", "another one", "and one more", "the fourth", "so it goes", "the end"],
    "note": ["", "x", "", "", "", ""],
    "team": ["it", "it", "hr", "hr", "it", "pr"],
    "priority": ["low", "low", "high", "low", "low", "high"],
}


def test_columns_that_are_there_are_not_guessed() -> None:
    assert guess_columns(SAMPLE, "note", "id") == ("note", "id")


def test_the_longest_column_has_the_texts_and_one_that_comes_back_the_labels() -> None:
    assert guess_columns(SAMPLE, "text", "label") == ("body", "priority")
    assert guess_columns(SAMPLE, "text", "team") == ("body", "team")
    assert guess_columns(SAMPLE, "text", "body") == ("priority", "body")
    assert guess_columns(SAMPLE, "body", "label") == ("body", "priority")


def test_a_usual_name_comes_first() -> None:
    assert guess_columns(SAMPLE | {"Category": SAMPLE["team"]}, "text", "label") == ("body", "Category")


def test_what_cannot_be_a_label_is_none() -> None:
    others = {"number": [0.5] * 6, "same": ["x"] * 6, "none": [None] * 6, "list": [[1]] * 6}
    assert guess_columns({"body": SAMPLE["body"], "id": SAMPLE["id"]} | others, "text", "label") is None
    assert guess_columns({"id": [1, 2], "team": [1, 1]}, "text", "label") is None
    assert guess_columns({}, "text", "label") is None
