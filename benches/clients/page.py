"""The page in Chromium, without a screen: a chat, stop, a branch, a reload in mid-stream, keyboard only, 360 pixels.

    python3 benches/clients/page.py http://127.0.0.1:8080 [DIRECTORY FOR SCREENSHOTS]

needs `pip install selenium`, chromium and chromedriver.
"""

import pathlib
import shutil
import sys
import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

address = sys.argv[1]
shots = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
options = webdriver.ChromeOptions()
for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1100,800"):
    options.add_argument(argument)
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
options.binary_location = shutil.which("chromium")
browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def shot(name):
    if shots:
        browser.save_screenshot(str(shots / f"{name}.png"))


def wait(condition, seconds=60):
    return WebDriverWait(browser, seconds, poll_frequency=0.05).until(lambda _: condition())


def texts(selector):
    return [element.text for element in browser.find_elements(By.CSS_SELECTOR, selector)]


def is_writing():
    return bool(browser.find_elements(By.CSS_SELECTOR, ".writing"))


def ask(text):
    box = browser.switch_to.active_element
    assert box.get_attribute("id") == "text", "the keyboard alone reaches the question"
    box.send_keys(text, Keys.ENTER)


def focus_question():
    for _ in range(40):
        if browser.switch_to.active_element.get_attribute("id") == "text":
            return
        browser.switch_to.active_element.send_keys(Keys.TAB)
    raise AssertionError("no way to the question by keyboard")


browser.get(address)
wait(lambda: texts(".empty"))
focus_question()
ask("Name three colours.")
wait(lambda: texts(".message.assistant .body") and texts(".message.assistant .body")[0])
wait(lambda: not is_writing())
assert "tokens" in texts(".message.assistant .foot")[0], texts(".foot")
shot("chat")

ask("Write a very long story about a lighthouse.")
wait(lambda: len(texts(".message.assistant .body")) == 2 and len(texts(".message.assistant .body")[1]) > 10)
browser.switch_to.active_element.send_keys(Keys.ESCAPE)
wait(lambda: not is_writing(), 5)
assert "stopped" in texts(".message.assistant .foot")[1]

browser.find_elements(By.CSS_SELECTOR, "[aria-label='Edit and ask again']")[1].click()
field = browser.switch_to.active_element
field.send_keys(Keys.CONTROL, "a")
field.send_keys("Say yes.")
browser.find_element(By.CSS_SELECTOR, ".body form button").click()
wait(lambda: "2 / 2" in texts(".message.user .foot")[1] and not is_writing())
browser.find_element(By.CSS_SELECTOR, "[aria-label='The branch before']").click()
assert "lighthouse" in texts(".message.user .body")[1]
shot("branch")

browser.find_elements(By.CSS_SELECTOR, "[aria-label='Answer again']")[-1].click()
wait(lambda: len(texts(".message.assistant .body")[-1]) > 40)
time.sleep(0.5)
browser.refresh()
wait(lambda: texts(".message.assistant .body"))
assert len(texts(".message.assistant .body")[-1]) > 10, "what had come is still there"

browser.set_window_size(360, 740)
browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                        {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True})
browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
assert browser.execute_script("return document.documentElement.scrollWidth") <= 360, "nothing sticks out"
shot("small-dark")
browser.get(address + "/#model")
wait(lambda: texts("#facts dd"))
shot("model")
problems = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
assert not problems, problems
browser.quit()
print("the page: passed")
