"""What a reader meets in a real browser: `pytest -m browser`, where there is a Chromium."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
SCREENSHOTS = os.environ.get("PIANOLSTM_SCREENSHOTS")  # a folder to look at afterwards

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

FIRST = ".pianolstm-player >> nth=0"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--mute-audio"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def tab(browser, request):
    """A page that remembers what its console complained of."""
    context = browser.new_context(color_scheme=request.param,
                                  viewport={"width": 1280, "height": 900})  # fmt: skip
    tab = context.new_page()
    tab.complaints = []
    tab.on("console", lambda m: m.type == "error" and tab.complaints.append(m.text))
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    yield tab
    context.close()


def photograph(tab, name):
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        scheme = tab.evaluate(
            "matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'"
        )
        tab.screenshot(path=Path(SCREENSHOTS) / f"{name}_{scheme}.png")


def ours(complaints):
    """Complaints about our own code: not about JupyterLab's services, which we do not control."""
    return [text for text in complaints if "pianolstm" in text or "SyntaxError" in text]


def check_player(tab):
    """The first player of the page is whole, plays, and its cursor goes where it should."""
    tab.locator(FIRST).scroll_into_view_if_needed()
    picture = tab.locator(f"{FIRST} >> img")
    assert picture.evaluate("image => image.complete && image.naturalWidth > 500")
    assert picture.bounding_box()["height"] > 150
    alternative = picture.get_attribute("alt")
    assert re.match(r"Piano roll of .*: \d+ notes on \d tracks?, \d+ bars", alternative)
    sound = tab.locator(f"{FIRST} >> audio")
    tab.wait_for_function("audio => audio.readyState > 0", arg=sound.element_handle())
    end = float(tab.locator(f"{FIRST} >> .roll").get_attribute("aria-valuemax"))
    assert end - 0.5 < sound.evaluate("audio => audio.duration") < end + 5

    def cursor():
        return tab.locator(f"{FIRST} >> .cursor").evaluate("c => parseFloat(c.style.left) || 0")

    roll = tab.locator(f"{FIRST} >> .roll")
    roll.focus()
    tab.keyboard.press("Space")
    tab.wait_for_function("audio => audio.currentTime > 0.8", arg=sound.element_handle())
    early = cursor()
    tab.wait_for_function("audio => audio.currentTime > 1.6", arg=sound.element_handle())
    assert cursor() > early > 5.5
    players = tab.locator(".pianolstm-player audio")
    if players.count() > 1:  # two never play at once
        other = players.nth(1)
        other.evaluate("audio => audio.play()")
        assert sound.evaluate("audio => audio.paused")
        other.evaluate("audio => audio.pause()")
    box = roll.bounding_box()
    roll.click(position={"x": box["width"] * 0.52, "y": box["height"] / 2})
    assert sound.evaluate("audio => audio.currentTime") == pytest.approx(end / 2, rel=0.05)
    assert cursor() == pytest.approx(52, abs=1)
    before = sound.evaluate("audio => audio.currentTime")
    tab.keyboard.press("ArrowLeft")
    assert 0.2 < before - sound.evaluate("audio => audio.currentTime") < 10
    tab.keyboard.press("Home")
    assert sound.evaluate("audio => audio.currentTime") == 0


@pytest.fixture(scope="module")
def rendered(render, tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    render.render(out)
    return out


def test_a_rendered_page_from_the_file_system(tab, rendered):
    tab.goto((rendered / "index.html").as_uri())
    photograph(tab, "contents")
    tab.get_by_role("link", name=re.compile("02 · ")).click()
    start = time.perf_counter()
    tab.reload(wait_until="load")
    seconds = time.perf_counter() - start
    print(f"\nthe page is there after {seconds:.2f} s")
    assert seconds < 2
    check_player(tab)
    photograph(tab, "page_player")
    tab.locator("text=The upper roll is the original").scroll_into_view_if_needed()
    tab.mouse.wheel(0, 500)
    photograph(tab, "page_compare")
    tab.get_by_role("link", name="encoding", exact=True).first.click()
    assert "glossary.html#encoding" in tab.url
    photograph(tab, "glossary")
    tab.go_back()
    tab.get_by_role("link", name=re.compile("03 · .*→")).first.click()
    assert "03_model.html" in tab.url
    assert not tab.complaints


def test_a_page_fits_a_phone(browser, rendered):
    context = browser.new_context(viewport={"width": 390, "height": 800}, is_mobile=True,
                                  has_touch=True)  # fmt: skip
    tab = context.new_page()
    for path in sorted(rendered.glob("*.html")):
        tab.goto(path.as_uri())
        wide = tab.evaluate("document.documentElement.scrollWidth")
        assert wide <= 392, f"{path.name} is {wide} pixels wide"
    if SCREENSHOTS:
        tab.goto((rendered / "02_encoding.html").as_uri())
        tab.screenshot(path=Path(SCREENSHOTS) / "phone.png")
    context.close()


def test_without_scripts_picture_and_sound_remain(browser, rendered):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((rendered / "02_encoding.html").as_uri())
    assert tab.locator(f"{FIRST} >> img").is_visible()
    assert tab.locator(f"{FIRST} >> audio[controls]").is_visible()
    context.close()


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
    """A JupyterLab over a copy of the notebooks; its address."""
    folder = tmp_path_factory.mktemp("lab")
    for part in ("notebooks", "midi_songs", "images"):
        shutil.copytree(ROOT / part, folder / part)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder / "settings"
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(settings), "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(settings), "IPYTHONDIR": str(settings),
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--port={port}",
               "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--allow-root",
               f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"]  # fmt: skip
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/api")
            break
        except OSError:
            assert server.poll() is None, "JupyterLab did not start"
            time.sleep(0.25)
    yield address
    server.terminate()
    server.wait(timeout=20)


RUN_ALL = """async () => {
    await window.jupyterapp.shell.currentWidget.sessionContext.ready;
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""
CELLS = """() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON().cells
    .filter(cell => cell.cell_type === 'code')"""


def test_a_notebook_runs_in_jupyterlab(tab, jupyter):
    tab.goto(f"{jupyter}/lab/tree/notebooks/02_encoding.ipynb?reset")
    tab.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.content?.model?.cells?.length > 10",
        timeout=60_000,
    )
    # Not run yet, so not trusted: JupyterLab drops scripts and styles. What remains is usable.
    tab.wait_for_selector("figure audio[controls]", timeout=20_000)
    assert tab.locator("figure img").first.get_attribute("alt").startswith("Piano roll of")
    dark = tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    if dark:
        theme = {"theme": "JupyterLab Dark"}
        tab.evaluate("t => window.jupyterapp.commands.execute('apputils:change-theme', t)", theme)
    tab.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    assert not any(cell["outputs"] for cell in tab.evaluate(CELLS))
    tab.evaluate(RUN_ALL)
    cells = tab.evaluate(CELLS)
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(cell["execution_count"] for cell in cells)
    assert not [o for o in outputs if o["output_type"] == "error"]
    tab.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1 }")
    tab.wait_for_selector(".pianolstm-player", timeout=20_000)
    check_player(tab)
    photograph(tab, "jupyterlab")
    assert not ours(tab.complaints)
