"""Sentence files: both ways of writing a pooling, limits, and what is refused with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raygen.errors import EngineConfigError
from raygen.models.text.sentence_files import SentenceFiles, read_sentence_files
from tests.fakes.tiny_encoders import save_sentence_files


def test_a_directory_that_says_nothing_means_the_mean(tmp_path: Path):
    assert read_sentence_files(tmp_path, None) == SentenceFiles("mean", False, None, False)
    assert read_sentence_files(tmp_path, "cls").pooling == "cls"


@pytest.mark.parametrize(
    ("pooling", "found"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["lasttoken"]}, "lasttoken"),
        ({}, "mean"),
    ],
)
def test_pooling_in_the_old_and_the_new_way(tmp_path: Path, pooling: dict[str, Any], found: str):
    save_sentence_files(
        tmp_path, pooling, "Normalize", settings={"max_seq_length": 99, "do_lower_case": True}
    )
    assert read_sentence_files(tmp_path, None) == SentenceFiles(found, True, 99, True)  # type: ignore[arg-type]
    assert read_sentence_files(tmp_path, "mean").pooling == "mean"


def test_modules_that_do_nothing_are_passed_by(tmp_path: Path):
    save_sentence_files(tmp_path, {"pooling_mode_cls_token": True}, "Dropout")
    assert read_sentence_files(tmp_path, None) == SentenceFiles("cls", False, None, False)


@pytest.mark.parametrize(
    ("pooling", "reason"),
    [
        ({"pooling_mode_max_tokens": True}, "asks for pooling max; known: one of mean, cls, lasttoken"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "asks for pooling cls and mean"),
        ({"pooling_mode": "weightedmean"}, "asks for pooling weightedmean"),
    ],
)
def test_other_poolings_are_refused_unless_the_job_names_one(tmp_path: Path, pooling: Any, reason: str):
    save_sentence_files(tmp_path, pooling)
    with pytest.raises(EngineConfigError, match=reason):
        read_sentence_files(tmp_path, None)
    assert read_sentence_files(tmp_path, "mean").pooling == "mean"


def test_modules_that_would_change_vectors_are_refused(tmp_path: Path):
    save_sentence_files(tmp_path, {}, "Dense")
    with pytest.raises(
        EngineConfigError, match="has a module 'Dense'; known: Transformer, Pooling, Normalize"
    ):
        read_sentence_files(tmp_path, None)


@pytest.mark.parametrize("text", ["{", "{}", "[1]"])
def test_broken_modules_are_refused(tmp_path: Path, text: str):
    (tmp_path / "modules.json").write_text(text)
    with pytest.raises(EngineConfigError, match=r"modules\.json"):
        read_sentence_files(tmp_path, None)


@pytest.mark.parametrize("folder", ["1_Pooling", "../elsewhere", "/etc", ""])
def test_a_pooling_without_its_config_is_refused_and_no_path_leads_out(tmp_path: Path, folder: str):
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "x.Pooling", "path": folder}]))
    with pytest.raises(
        EngineConfigError, match=r"has no config\.json; copy that folder too, or set the option"
    ):
        read_sentence_files(tmp_path, None)


@pytest.mark.parametrize("limit", [0, -1, "99", 1.5, True])
def test_wrong_limits_are_refused(tmp_path: Path, limit: Any):
    save_sentence_files(tmp_path, {}, settings={"max_seq_length": limit})
    with pytest.raises(EngineConfigError, match="max_seq_length"):
        read_sentence_files(tmp_path, None)
