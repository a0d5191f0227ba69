"""How long a frame of a report's map takes while it is moved, in headless Chromium without a graphics card.

    python benches/report_frames.py target/release/retune [--images 10000]

Makes a page of a map of random features, moves and zooms the map for 300 frames as a pointer would, and prints how long
drawing took (the script's part of a frame, median and 95th percentile) and how many frames a second the browser showed.
Needs chromium and chromedriver.
"""

import argparse
import json
import pathlib
import re
import subprocess
import tempfile
import urllib.request

import numpy as np

MOVES = """
const done = arguments[0], canvas = document.querySelector('.stage canvas');
const drawing = [], times = [];
const step = (time) => {
  times.push(time);
  const before = performance.now();
  canvas.map.pan(2 * Math.sin(times.length / 9), Math.cos(times.length / 7));
  canvas.map.zoom(times.length % 120 < 60 ? 1.02 : 1 / 1.02);
  canvas.map.draw();
  drawing.push(performance.now() - before);
  if (times.length < 300) requestAnimationFrame(step);
  else done({ drawing, seconds: (times[times.length - 1] - times[0]) / 1000, frames: times.length - 1 });
};
requestAnimationFrame(step);
"""


class Browser:
    def __init__(self):
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        port = next(filter(None, (re.search(r"successfully on port (\d+)", line) for line in self.driver.stdout)))[1]
        self.address = f"http://127.0.0.1:{port}/session"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000"]
        options = {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}
        self.address += "/" + self.ask("", {"capabilities": options})["sessionId"]

    def ask(self, command, body):
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.address + command, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["value"]

    def close(self):
        urllib.request.urlopen(urllib.request.Request(self.address, method="DELETE"))
        self.driver.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retune", type=pathlib.Path)
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        features = np.random.default_rng(0).normal(size=(options.images, 16)).astype(np.float32)
        np.savez(f"{folder}/features.npz", features=features, labels=np.arange(options.images) % 10)
        command = [options.retune.resolve(), "umap", "--features", f"{folder}/features.npz", "--out", f"{folder}/map.html", "-q"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        browser = Browser()
        try:
            browser.ask("/url", {"url": f"file://{folder}/map.html"})
            found = browser.ask("/execute/async", {"script": MOVES, "args": []})
        finally:
            browser.close()
    drawing = np.array(found["drawing"][30:])
    print(
        f"{options.images} images: drawing takes {np.median(drawing):.1f} ms, 95th percentile {np.quantile(drawing, 0.95):.1f} ms; "
        f"{found['frames'] / found['seconds']:.0f} frames a second"
    )


main()
