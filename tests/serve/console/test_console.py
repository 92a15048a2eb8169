"""The console in a real Chromium: it shows what the API says, works with a keyboard, and nothing foreign runs in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from raygen.serve.tenants.keys import add_key
from raygen.storage import open_store
from tests.fakes.batch_service import CHAT, Running, line, running, settings

pytest.importorskip("playwright.sync_api", reason="the console is tested with playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        found = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Running]:
    options = {"output_tokens": 4, "delay_s": 0.02, "context_tokens": 64}
    with running(settings(tmp_path_factory.mktemp("store"), options=options)) as found:
        yield found


class Looked:
    """A page, with all that went wrong on it."""

    def __init__(self, browser, url: str) -> None:
        self.page = browser.new_page()
        self.page.set_default_timeout(20_000)
        self.url, self.wrong = url, []
        self.page.on("console", lambda said: self.wrong.append(said.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append(dialog.message), dialog.dismiss()))
        self.page.on("request", self._request)

    def _request(self, request) -> None:
        if not request.url.startswith((self.url, "blob:")):
            self.wrong.append(f"asked {request.url}")

    def go(self, view: str):
        self.page.goto(f"{self.url}/console#/{view}")
        return self.page


@pytest.fixture
def looked(browser, service) -> Iterator[Looked]:
    found = Looked(browser, service.url)
    yield found
    found.page.close()
    assert found.wrong == []


def begun(service: Running, lines: list[str], **metadata: str) -> str:
    client = service.client()
    file = client.files.create(file=(f"{HOSTILE}.jsonl", "\n".join(lines).encode()), purpose="batch")
    made = client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata=metadata or None
    )
    return made.id


def test_a_batch_is_watched_to_its_end_and_its_rows_are_shown(looked, service):
    batch = begun(service, [line("good", f"say {HOSTILE}"), line("bad", "x " * 64)], note=HOSTILE)
    page = looked.go("batches")
    page.get_by_role("link", name=batch).click()
    page.get_by_text("completed", exact=True).wait_for()
    page.get_by_text("2 of 2 lines have an outcome; 1 failed.").wait_for()
    page.get_by_text("context_length_exceeded").first.wait_for()
    assert page.get_by_text(HOSTILE).count() >= 1
    assert page.locator("main img, main script").count() == 0
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download output").click()
    assert '"custom_id":"good"' in Path(saved.value.path()).read_text()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Report").click()
    assert "<html" in Path(saved.value.path()).read_text()


def test_the_focus_stays_on_what_had_it_while_rows_come_before_it(looked, service):
    batch = begun(service, [line("first")])
    page = looked.go("batches")
    page.get_by_role("link", name=batch).focus()
    later = begun(service, [line("second")])
    page.get_by_role("link", name=later).wait_for()
    assert page.evaluate("document.activeElement.textContent") == batch
    page.locator("main [role=region]").focus()
    last = begun(service, [line("third")])
    page.get_by_role("link", name=last).wait_for()
    assert page.evaluate("document.activeElement.getAttribute('role')") == "region"


def test_a_batch_is_cancelled(looked, service):
    batch = begun(service, [line(f"r{n}") for n in range(4000)])
    page = looked.go(f"batches/{batch}")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("cancelled", exact=True).wait_for()
    assert service.client().batches.retrieve(batch).status == "cancelled"


def test_a_file_is_uploaded_and_a_batch_is_started_from_it(looked, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(line("one") + "\n")
    page = looked.go("files")
    page.get_by_label("Upload a .jsonl file").set_input_files(path)
    page.get_by_role("row", name="mine.jsonl").get_by_role("button", name="Start batch").click()
    page.get_by_text("1 of 1 lines have an outcome; 0 failed.").wait_for()


def test_the_playground_streams_an_answer_by_keyboard_alone(looked):
    page = looked.go("playground")
    page.get_by_label("Message").focus()
    page.keyboard.type("Tell me")
    page.keyboard.press("Control+Enter")
    page.get_by_text("first piece after").wait_for()
    assert len(page.get_by_role("region", name="Answer").inner_text()) > 10
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "most"


def test_everything_is_reached_with_the_tab_key(looked):
    page = looked.go("models")
    page.get_by_text("causal_lm · echo").wait_for()
    seen = []
    for _ in range(9):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent"))
    assert seen[:8] == [
        "Skip to content",
        "Batches",
        "Files",
        "Models",
        "Usage",
        "Playground",
        "Theme",
        seen[7],
    ]
    page.keyboard.press("Shift+Tab")


def test_light_and_dark(looked):
    page = looked.go("usage")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.get_by_role("button", name="Change between light and dark").click()
    assert page.evaluate(ground) != before


def test_a_key_is_kept_in_memory_alone(browser, tmp_path):
    key = add_key(open_store(str(tmp_path)), "acme")
    with running(settings(tmp_path)) as service:
        looked = Looked(browser, service.url)
        page = looked.go("models")
        page.get_by_label("Key (rg-…)").fill(key)
        page.get_by_role("button", name="Enter").click()
        page.get_by_text("causal_lm · echo").wait_for()
        kept = page.evaluate(
            "[document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage), location.href]"
        )
        assert all(key not in each for each in kept)
        assert key not in page.content()
        page.reload()
        page.get_by_label("Key (rg-…)").wait_for()
        page.close()
        # The browser itself notes each 401.
        assert all("401" in each for each in looked.wrong)
