"""Messages: parts, images, and what is refused of them."""

from __future__ import annotations

import pytest

from raygen.wire.chat import ChatCompletions
from raygen.wire.errors import ApiError
from tests.fakes.text_models import saying
from tests.wire.asking import answered

PNG = "data:image/png;base64,iVBORw0KGgo="


def taken(*messages, hosts=(), inputs=("text", "image")):
    served = saying("x")
    served.engine.__class__ = type("Seeing", (type(served.engine),), {"inputs": frozenset(inputs)})
    answered(ChatCompletions(hosts), served, messages=list(messages))
    return served.engine.asked[0].messages


def image(url):
    return {
        "role": "user",
        "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}],
    }


def test_parts_of_text_are_one_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert taken({"role": "user", "content": parts}) == [{"role": "user", "content": "ab"}]


def test_an_image_stays_a_part():
    assert taken(image(PNG)) == [image(PNG)]


def test_an_image_elsewhere_is_taken_from_named_hosts_alone():
    assert taken(image("https://pictures.example/a.png"), hosts=["pictures.example"])
    for url in (
        "https://pictures.example.evil.example/a.png",
        "https://pictures.example@evil.example/a.png",
        "https://evil.example/pictures.example",
        "http://pictures.example/a.png",
        "file:///etc/passwd",
        "data:text/html,x",
    ):
        with pytest.raises(ApiError) as caught:
            taken(image(url), hosts=["pictures.example"])
        assert caught.value.param == "messages.0.content.1.image_url.url"


def test_what_a_refusal_said_goes_back():
    assert taken({"role": "assistant", "refusal": "no"}) == [{"role": "assistant", "content": "no"}]


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ({"role": "user"}, "invalid_value", "messages.0.content"),
        ({"role": "assistant", "content": None}, "invalid_value", "messages.0.content"),
        ({"role": "robot", "content": "x"}, "invalid_value", "messages.0.role"),
        ({"content": "x"}, "missing_required_parameter", "messages.0.role"),
        (
            {"role": "user", "content": [{"type": "text"}]},
            "missing_required_parameter",
            "messages.0.content.0.text",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio"}]},
            "unsupported_parameter",
            "messages.0.content.0",
        ),
        (
            {"role": "user", "content": [{"type": "image_url"}]},
            "missing_required_parameter",
            "messages.0.content.0.image_url",
        ),
    ],
)
def test_what_says_nothing_is_refused_by_name(message, code, param):
    with pytest.raises(ApiError) as caught:
        taken(message)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_model_of_texts_takes_no_image():
    with pytest.raises(ApiError) as caught:
        taken(image(PNG), inputs=["text"])
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "messages.0.content.1")
