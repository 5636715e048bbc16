"""The page in Chromium, without a screen: a chat, stop, a branch, a reload in mid-stream, several chats, rows of a table, a
training that goes on, attention, by keyboard, on 360 pixels, light and dark.

    python3 benches/clients/page.py http://127.0.0.1:8080 [--chat MODEL] [--table MODEL] [--live RUN] [--shots DIRECTORY]

MODEL answers slowly enough to be stopped; RUN is one that is being trained. Needs `pip install selenium`, chromium and chromedriver.
"""

import argparse
import pathlib
import shutil
import time

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

parser = argparse.ArgumentParser()
parser.add_argument("address")
parser.add_argument("--chat", help="a model that can be talked to")
parser.add_argument("--table", help="a model that makes rows")
parser.add_argument("--live", help="a run that is being trained")
parser.add_argument("--shots", type=pathlib.Path, help="a directory for screenshots")
arguments = parser.parse_args()
address, shots = arguments.address, arguments.shots
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
    # What is looked at may be drawn anew meanwhile.
    ignored = [StaleElementReferenceException]
    return WebDriverWait(browser, seconds, 0.05, ignored).until(lambda _: condition())


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


def choose(model):
    if model:
        Select(browser.find_element(By.ID, "model")).select_by_value(model)


def longest(n_tokens):
    browser.execute_script("document.getElementById('max_tokens').value = arguments[0]", n_tokens)


def new_chat():
    browser.find_element(By.ID, "new").click()
    wait(lambda: texts(".empty") and not texts(".message"), 5)


def can_send():
    shown = [browser.find_element(By.ID, button).is_displayed() for button in ("send", "stop")]
    return shown == [True, False]


def reload_in_mid_stream():
    wait(lambda: len(texts(".message.assistant .body")[-1]) > 40)
    time.sleep(0.5)
    browser.refresh()
    wait(lambda: texts(".message.assistant .body"))
    assert len(texts(".message.assistant .body")[-1]) > 10, "what had come is still there"


def small(is_dark):
    browser.set_window_size(360, 740)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True})
    scheme = "dark" if is_dark else "light"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})


def large():
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.set_window_size(1100, 800)


def fits():
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= 360, f"{browser.current_url} sticks out: {width} pixels"


browser.get(address + "/#chat")
wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#model option"))
choose(arguments.chat)
wait(lambda: texts(".empty"))
longest(40)
focus_question()
ask("Name three colours.")
wait(lambda: texts(".message.assistant .body") and texts(".message.assistant .body")[0])
wait(lambda: not is_writing())
assert "tokens" in texts(".message.assistant .foot")[0], texts(".foot")
shot("chat")

longest(1500)
ask("Write a very long story about a lighthouse.")
wait(lambda: len(texts(".message.assistant .body")) == 2 and len(texts(".message.assistant .body")[1]) > 10)
browser.switch_to.active_element.send_keys(Keys.ESCAPE)
wait(lambda: not is_writing(), 5)
assert "stopped" in texts(".message.assistant .foot")[1]

browser.find_elements(By.CSS_SELECTOR, "[aria-label='Edit and ask again']")[1].click()
longest(40)
field = browser.switch_to.active_element
field.send_keys(Keys.CONTROL, "a")
field.send_keys("Say yes.")
browser.find_element(By.CSS_SELECTOR, ".body form button").click()
wait(lambda: "2 / 2" in texts(".message.user .foot")[1] and not is_writing())
browser.find_element(By.CSS_SELECTOR, "[aria-label='The branch before']").click()
assert "lighthouse" in texts(".message.user .body")[1]
shot("branch")

longest(1500)
browser.find_elements(By.CSS_SELECTOR, "[aria-label='Answer again']")[-1].click()
reload_in_mid_stream()

new_chat()
longest(1500)
ask("Write a very long story about a mountain.")
reload_in_mid_stream()
assert texts(".message.user .body") == ["Write a very long story about a mountain."], "a reload shows the chat that was open"

new_chat()
ask("Why?")
browser.refresh()
wait(lambda: texts(".message.user .body"))
assert texts(".message.user .body") == ["Why?"], "a question is kept before its answer begins"

new_chat()
longest(1500)
ask("Write a very long story about a river.")
wait(is_writing)
new_chat()
wait(can_send, 5)
ask("Write a very long story about a tree.")
wait(is_writing)
assert not can_send(), "an answer is being written"
browser.find_elements(By.CSS_SELECTOR, "#chats button:first-child")[-1].click()
wait(can_send, 5)
assert "lighthouse" in texts(".message.user .body")[1], "the oldest chat is the last of the list"
browser.find_elements(By.CSS_SELECTOR, "#chats button:first-child")[1].click()
wait(lambda: "stopped" in texts(".message.assistant .foot")[0], 5)
assert texts(".message.user .body") == ["Write a very long story about a river."]

small(is_dark=True)
fits()
shot("chat-small-dark")
browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
wait(lambda: not is_writing())
large()

if arguments.table:
    browser.get(address + "/#generate")
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#model option"))
    choose(arguments.table)
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#fields .chip"))
    age = browser.find_element(By.CSS_SELECTOR, "[data-field='age-min']")
    age.send_keys("40", Keys.TAB, "60", Keys.ENTER)
    wait(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#gallery tbody tr")) == 10 and "made in" in texts("#wish-note")[0])
    place = texts("#gallery th").index("age")
    ages = [int(row.find_elements(By.TAG_NAME, "td")[place].text) for row in
            browser.find_elements(By.CSS_SELECTOR, "#gallery tbody tr")]
    assert all(40 <= age <= 60 for age in ages), ages
    assert texts("#gallery .head button")[0].removeprefix("seed ").isdigit() and "CSV" in texts("#gallery .head button")
    shot("generate")
    small(is_dark=True)
    fits()
    shot("generate-small-dark")
    large()

if arguments.live:
    browser.get(address + "/#training")
    wait(lambda: texts("#runs .name"))
    box = browser.find_element(By.CSS_SELECTOR, f"#runs input[value='{arguments.live}']")
    if not box.is_selected():
        box.send_keys(Keys.SPACE)
    wait(lambda: texts("#runs .live") and texts("#legend p"))

    def points():
        line = browser.find_elements(By.CSS_SELECTOR, "#chart polyline")
        return len(line[0].get_attribute("points").split()) if line else 0

    wait(lambda: points() > 1)
    before = points()
    wait(lambda: points() > before)
    picture = browser.find_element(By.CSS_SELECTOR, "#chart svg")
    picture.send_keys(Keys.ARROW_LEFT)
    reading = wait(lambda: texts("#chart .reading")[0])
    assert arguments.live in reading
    wait(lambda: browser.find_element(By.CSS_SELECTOR, "#chart svg") != picture)
    assert wait(lambda: browser.switch_to.active_element.tag_name) == "svg", "a new picture takes the keys of the one before"
    assert wait(lambda: texts("#chart .reading")[0]).startswith(reading.split(":")[0]), "and is read where that was"
    wait(lambda: texts("#sample-texts pre"))
    shot("training")
    small(is_dark=True)
    fits()
    shot("training-small-dark")
    large()

browser.get(address + "/#model")
wait(lambda: texts("#facts dd"))
choose(arguments.chat)
browser.find_element(By.ID, "look-text").send_keys(Keys.ENTER)
wait(lambda: texts("#look-tokens button"))
browser.switch_to.active_element.send_keys(Keys.TAB)
browser.find_element(By.CSS_SELECTOR, "#look-heads [aria-checked='true']").send_keys(Keys.ARROW_RIGHT)
assert browser.switch_to.active_element.get_attribute("aria-label") == "head 2"
shot("model")
small(is_dark=False)
fits()
shot("model-small")
# What was refused on purpose is no mistake of the page.
problems = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
assert not problems, problems
browser.quit()
print("the page: passed")
