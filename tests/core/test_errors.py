"""Names that do not exist: the near ones are told, not all of them."""

from interpbench.core.errors import FEW, NEAR, unknown_name

MANY = [f"method-{i:02d}" for i in range(60)]


def test_of_many_names_only_the_near_ones_are_told() -> None:
    message = str(unknown_name("method", "metod-33", MANY))
    assert "Known" not in message
    named = [name for name in MANY if name in message]
    assert len(named) == NEAR
    assert "method-33" in named
    assert str(unknown_name("method", "METHOD-31", MANY)).endswith("Did you mean 'method-31'?")


def test_where_none_is_near_or_there_are_few_they_are_listed() -> None:
    message = str(unknown_name("method", "xyz", MANY))
    assert "Did you mean" not in message
    assert message.endswith("method-38, method-39 and 20 more.")
    few = MANY[:FEW]
    message = str(unknown_name("method", "method-0", few))
    assert "Did you mean" in message
    assert message.endswith(f"Known: {', '.join(few)}.")


def test_names_with_a_word_that_begins_so_come_first() -> None:
    names = ["Maltese dog", "hog", "hot dog", "dugong", "doghouse", *MANY]
    message = str(unknown_name("class", "Dog", names))
    assert message.endswith("Did you mean 'hot dog', 'doghouse', 'Maltese dog' or 'hog'?")
    assert "hotdog" not in str(unknown_name("class", "do", ["hot dog", *MANY]))
