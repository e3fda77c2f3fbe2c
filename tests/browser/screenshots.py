"""Takes the README's pictures of the pages: `screenshots.py FOLDER`; `FOLDER all`: those to check as well."""

import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.browser.chromium import chromium, served
from tests.page_examples import Fleet, all_down, beginning, broken, crowd, cut_off, empty, lively, row

DESKTOP = (1280, 800)
PHONE = (360, 740)
WALL = (1920, 1080)
RECOMMENDER = f"services/{row('', 1).service_id}"


class Picture(NamedTuple):
    """A page as it looks on a screen; `whole` goes on below the screen's edge."""

    name: str
    fleet: str
    path: str = ""
    scheme: str = "light"
    screen: tuple[int, int] = DESKTOP
    whole: bool = False
    zone: str = "UTC"


# Those of the README; the screens end where a row ends.
SHOWN = (
    Picture("overview", "lively", screen=(1280, 744)),
    Picture("overview-dark", "lively", scheme="dark", screen=(1280, 744)),
    Picture("service", "lively", RECOMMENDER, screen=(1280, 819)),
    Picture("phone", "lively", screen=PHONE),
)
# What else there is to look at after a change.
CHECKED = (
    Picture("service-dark", "lively", RECOMMENDER, "dark", (1280, 1000)),
    Picture("overview-whole", "lively", whole=True),
    Picture("phone-whole", "lively", screen=PHONE, whole=True),
    Picture("phone-dark", "lively", "", "dark", PHONE),
    Picture("service-whole", "lively", RECOMMENDER, whole=True),
    Picture("service-whole-dark", "lively", RECOMMENDER, "dark", whole=True),
    Picture("service-phone", "lively", RECOMMENDER, screen=PHONE, whole=True),
    Picture("stuck", "lively", f"services/{row('', 3).service_id}", whole=True),
    Picture("unreadable", "lively", f"services/{row('', 4).service_id}", whole=True),
    Picture("stopped", "lively", f"services/{row('', 12).service_id}"),
    Picture("edge", "lively", f"services/{row('', 20).service_id}", whole=True),
    Picture("unread", "lively", f"services/{row('', 22).service_id}"),
    Picture("missing", "broken", "services/nothing"),
    Picture("broken", "broken"),
    Picture("broken-dark", "broken", scheme="dark"),
    Picture("empty", "empty"),
    Picture("beginning", "beginning"),
    Picture("starting", "starting"),
    Picture("crowd", "crowd"),
    Picture("crowd-last", "crowd", "?page=101&state=ok", whole=True),
    Picture("wall", "lively", "?view=wall", screen=WALL),
    Picture("wall-30", "all_down", "?view=wall", "dark", WALL),
    Picture("wall-outage", "broken", "?view=wall", screen=WALL),
    Picture("wall-crowd", "crowd", "?view=wall", screen=WALL),
    Picture("wall-phone", "lively", "?view=wall", screen=PHONE),
    Picture("service-old", "cut_off", f"services/{row('', 7).service_id}"),
    Picture("old", "cut_off", whole=True),
    Picture("overview-local", "lively", zone="Europe/Berlin"),
    Picture("service-local", "lively", RECOMMENDER, zone="Europe/Berlin", whole=True),
    Picture("phone-local", "lively", RECOMMENDER, screen=PHONE, zone="Europe/Berlin"),
    Picture("runbooks", "lively", "runbooks/"),
    Picture("runbook", "lively", "runbooks/ModelArtsUpdateFailed", whole=True),
    Picture("runbook-phone", "lively", "runbooks/ModelArtsUpdateFailed", "dark", PHONE),
    Picture("nothing-found", "lively", "?q=nowhere&project=edge"),
)
FLEETS = {
    "lively": lively,
    "broken": broken,
    "empty": empty,
    "beginning": beginning,
    "starting": Fleet,
    "crowd": crowd,
    "all_down": all_down,
    "cut_off": cut_off,
}


def take(folder: Path, pictures: tuple[Picture, ...]) -> None:
    """Write each as `folder/NAME.png`."""
    with chromium() as browser:
        for name in dict.fromkeys(picture.fleet for picture in pictures):
            with served(FLEETS[name]()) as url:
                for picture in (each for each in pictures if each.fleet == name):
                    width, height = picture.screen
                    page = browser.new_page(
                        viewport={"width": width, "height": height},
                        color_scheme="dark" if picture.scheme == "dark" else "light",
                        timezone_id=picture.zone,
                    )
                    page.goto(url + picture.path)
                    page.screenshot(path=folder / f"{picture.name}.png", full_page=picture.whole)
                    page.close()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    take(target, SHOWN + CHECKED if sys.argv[2:] == ["all"] else SHOWN)
