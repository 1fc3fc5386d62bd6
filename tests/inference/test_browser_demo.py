"""The exported network in a real browser with onnxruntime-web, compared with onnxruntime."""

import functools
import http.server
import os
import shutil
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import browser, examples, initialized_weights, paths

from bmc_jax.inference.export import onnx_program, program

#: The package onnxruntime-web as `npm pack` downloads it.
PACKAGE = os.environ.get("BMC_ONNXRUNTIME_WEB")
runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytestmark = [
    pytest.mark.skipif(browser.EXECUTABLE is None, reason="no Chromium on this machine"),
    pytest.mark.skipif(PACKAGE is None, reason="BMC_ONNXRUNTIME_WEB names no package of onnxruntime-web"),
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def folder(tmp_path, monkeypatch, without_shape_checks):
    """The demo with a small network."""
    demo = shutil.copytree(paths.ROOT / "docs/browser", tmp_path / "demo")
    with tarfile.open(PACKAGE) as archive:
        archive.extractall(demo / "node_modules", filter="data")
    (demo / "node_modules/package").rename(demo / "node_modules/onnxruntime-web")
    config = examples.tiny_config()
    weights = initialized_weights.of(config)
    pose = np.random.default_rng(1).uniform(-0.5, 0.5, 63)
    onnx_program.write(demo, weights | {"params/head/bias": pose.astype(np.float32)}, config=config)
    return demo


def until(tab, expression, wanted):
    end = time.monotonic() + 60
    while (found := tab.evaluate(expression)) != wanted:
        assert time.monotonic() < end, (found, tab.errors)
        time.sleep(0.02)


def test_file_in_place_of_the_camera_gives_the_hand(folder):
    given = program.probes(examples.SIZE, 1)
    Image.fromarray(given["image"][0]).save(folder / "hand.png")
    Image.fromarray(given["image"][0, :, ::-1]).save(folder / "mirrored.png")
    middle = (examples.SIZE - 1) / 2
    given["K"] = np.float32([[[examples.SIZE, 0, middle], [0, examples.SIZE, middle], [0, 0, 1]]])
    given["scale"] = np.float32([0.0446])
    session = runtime.InferenceSession(str(folder / onnx_program.FILE), providers=["CPUExecutionProvider"])
    wanted = dict(zip([output.name for output in session.get_outputs()], session.run(None, given), strict=True))
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, browser.page() as tab:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            address = f"http://127.0.0.1:{server.server_address[1]}/"
            tab.call("Page.navigate", url=address)
            until(tab, "document.querySelector('output')?.value", "ready")
            choose(tab, folder / "hand.png")
            found = tab.evaluate("window.hand")
            np.testing.assert_allclose(found["joints_3d"], wanted["joints_3d"][0], atol=1e-5)
            np.testing.assert_allclose(found["joints_2d"], wanted["joints_2d"][0], atol=1e-3)
            tab.evaluate("document.querySelector('input[type=checkbox]').checked = true")
            choose(tab, folder / "mirrored.png")
            found = tab.evaluate("window.hand")
            np.testing.assert_allclose(found["joints_3d"], wanted["joints_3d"][0] * [-1, 1, 1], atol=1e-5)
        finally:
            server.shutdown()
        assert not tab.errors
        assert all(url.startswith((address, "blob:", "data:")) for url in tab.requests)


def choose(tab, file: Path):
    tab.evaluate("window.hand = null")
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    node = tab.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
    tab.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)
    until(tab, "Boolean(window.hand)", True)
