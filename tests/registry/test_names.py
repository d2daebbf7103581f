"""Names: strict ones pass, and nothing that looks like one does."""

from __future__ import annotations

import pytest

from mien.errors import InputError
from mien.registry.names import Share, checked, shares, spelled


@pytest.mark.parametrize("name", ["witty", "a", "my-voice-2", "a" * 40])
def test_a_name_of_small_letters_digits_and_hyphens_passes(name: str) -> None:
    assert checked(name) == name


BAD = {
    "w\u0456tty": "CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I",
    "witty\u200b": "ZERO WIDTH SPACE",
    "\uff57itty": "FULLWIDTH LATIN SMALL LETTER W",
    "../x": "'../x'",
    "a/b": "'a/b'",
    "__base__": "'__base__'",
    "": "''",
    "Witty": "'Witty'",
    "a" * 41: "'a",
    "witty\n": "witty",
    "null": "the word has a meaning",
    "import": "the word has a meaning",
    "base": "the word has a meaning",
}


@pytest.mark.parametrize(("name", "says"), BAD.items(), ids=ascii)
def test_a_name_that_could_mislead_is_refused(name: str, says: str) -> None:
    with pytest.raises(InputError, match="No adapter can be called") as caught:
        checked(name)
    assert says in caught.value.what and caught.value.fix


def test_a_mixture_is_read_from_words_and_from_a_models_name() -> None:
    both = (Share("witty", 0.7), Share("warm", 0.3))
    assert shares(["witty:0.7", "warm:0.3"]) == shares(["witty:0.7+warm:0.3"]) == both
    assert shares(["witty", "warm:-1"]) == (Share("witty", 1.0), Share("warm", -1.0))


def test_a_mixture_is_written_in_one_way() -> None:
    written = [spelled(shares([text])) for text in ("witty:0.70+warm+calm:0", "warm:1.0+witty:.7")]
    assert written == ["warm:1+witty:0.7"] * 2
    assert shares(written[:1]) == (Share("warm", 1.0), Share("witty", 0.7))


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["witty:much"], "no part of a mixture"),
        (["witty:nan"], "no part of a mixture"),
        (["witty:1e9"], "no part of a mixture"),
        ([":1"], "no part of a mixture"),
        (["witty:1+"], "no part of a mixture"),
        (["witty:0", "warm:0"], "no voice in it"),
        ([], "no voice in it"),
        (["witty:1", "witty:2"], "'witty' twice"),
    ],
)
def test_a_mixture_that_means_nothing_is_refused(texts: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        shares(texts)
