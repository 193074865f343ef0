"""A person's path through the page: log-in apart, all that a hand does first.

Arguments: port, torrent file, data directory, address of a seed. Pictures go to $BT_PICTURES, if set.
"""
import http.server
import os
import sys
import threading
from playwright.sync_api import sync_playwright

port, torrent, data, seed = sys.argv[1:]
pictures = os.environ.get("BT_PICTURES")
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def picture(page, name):
    if pictures:
        page.screenshot(path=f"{pictures}/{name}.png")


class Feed(http.server.BaseHTTPRequestHandler):
    """A feed whose one article has a hostile title, and the torrent."""

    def do_GET(self):
        base = f"http://127.0.0.1:{self.server.server_port}"
        title = HOSTILE.replace("&", "&amp;").replace("<", "&lt;")
        text = (
            f"<rss version='2.0'><channel><title>{title}</title><link>{base}</link><description/>"
            f"<item><title>Album {title}</title><guid>1</guid>"
            f"<enclosure url='{base}/a.torrent' length='1' type='application/x-bittorrent'/></item></channel></rss>"
        ).encode()
        body = open(torrent, "rb").read() if self.path == "/a.torrent" else text
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Feed)
threading.Thread(target=site.serve_forever, daemon=True).start()

with sync_playwright() as playwright:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(60000)
    trouble = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda line: trouble.append(line.text) if line.type == "error" else None)
    foreign = []
    page.on("request", lambda request: foreign.append(request.url) if f"127.0.0.1:{port}" not in request.url else None)
    page.goto(f"http://127.0.0.1:{port}/")

    # Add, with one file left out.
    page.click("#add")
    page.set_input_files("#file", torrent)
    page.locator(".choice input[type=checkbox]").last.uncheck()
    picture(page, "add")
    page.click("dialog button.primary")
    row = page.locator(".body .row", has_text="album")
    row.wait_for()

    # Watch it arrive, and look at it.
    page.locator(".body .row .bar.seeding").wait_for()
    row.dblclick()
    page.locator(".details .why .summary").wait_for()
    picture(page, "details")
    for tab in ("files", "peers", "trackers", "speed", "files"):
        page.click(f".details .tabs button:has-text('{tab}')")
    page.locator(".details .files select").first.wait_for()
    # The file that was left out is wanted after all.
    page.locator(".details .files .file input[type=checkbox]:not(:checked)").last.check()

    # Stop and start it by the keyboard, limit it, give it a hostile category.
    page.click("#stop")
    page.locator(".body .row .cell.state", has_text="stopped").wait_for()
    page.click("#start")
    page.locator(".body .row .bar.seeding").wait_for()
    page.click("#edit")
    page.locator("dialog label", has_text="Limit from peers").locator("input").fill("2 MiB")
    page.locator("dialog label", has_text="Category").locator("input").fill(HOSTILE)
    page.click("dialog button.primary")
    page.locator(".sidebar", has_text="onerror").wait_for()

    # Search, sort, facets.
    page.fill("#search", "nothing like it")
    page.locator(".empty", has_text="No torrent passes").wait_for()
    page.fill("#search", "ALB")
    row.wait_for()
    page.click(".head button:has-text('Name')")
    picture(page, "list-light")
    page.emulate_media(color_scheme="dark")
    picture(page, "list-dark")
    page.set_viewport_size({"width": 390, "height": 800})
    picture(page, "phone-details")
    page.click("[aria-label='Close the details']")
    picture(page, "phone-dark")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")

    # Remove it and take that back; then delete it.
    row.click()
    page.click("#remove")
    picture(page, "remove")
    page.click("dialog button.danger")
    row.wait_for(state="detached")
    page.click(".toasts .undo")
    row.wait_for()
    page.locator(".body .row .bar.seeding").wait_for()
    row.click()
    page.click("#remove")
    page.check("#with-data")
    page.click("dialog button.danger")
    row.wait_for(state="detached")
    assert not os.path.exists(os.path.join(data, "album"))

    # A feed, and a rule that adds its torrent.
    page.click("#feeds")
    page.fill("#feed-url", f"http://127.0.0.1:{site.server_port}/")
    page.click("dialog.feeds button:has-text('Add feed')")
    page.locator(".feed button.plain", has_text="onerror").click()
    page.locator(".articles li", has_text="onerror").wait_for()
    page.click("#new-rule")
    page.fill(".rule input[name=name]", "albums")
    page.fill(".rule input[name=mustContain]", "alb*")
    picture(page, "feeds")
    page.click(".rule button[type=submit]")
    page.locator(".feed header", has_text="alb*").wait_for()
    page.click("dialog.feeds footer button:has-text('Close')")
    row.wait_for()
    assert page.title() != "owned" and page.locator("img").count() == 0, "a name became HTML"
    assert not trouble, trouble
    assert not foreign, foreign
    browser.close()
