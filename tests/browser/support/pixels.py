"""The colours of a screenshot's pixels, read by the browser that took it."""

from __future__ import annotations

import base64

from playwright.sync_api import Page

_READ = """async ({png, x}) => {
  const bytes = Uint8Array.from(atob(png), each => each.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], {type: "image/png"}));
  const canvas = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
  canvas.drawImage(picture, 0, 0);
  return [...canvas.getImageData(x, 0, 1, picture.height).data];
}"""


def column(page: Page, png: bytes, x: int) -> list[tuple[int, int, int]]:
    """Return red, green and blue of the pixels of one column of a screenshot, from the top.

    Args:
        page: any page of the browser.
        png: the screenshot.
        x: the column, in pixels of the screenshot.
    """
    found: list[int] = page.evaluate(_READ, {"png": base64.b64encode(png).decode(), "x": x})
    return [*zip(found[::4], found[1::4], found[2::4], strict=True)]
