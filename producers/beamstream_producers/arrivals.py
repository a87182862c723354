"""Which images of a series or a scan are here: exactly, in little memory, in whatever order they come."""

from __future__ import annotations


class ImageIds:
    """A set of image ids that is mostly 0, 1, 2, …: a count, and what came ahead of it."""

    __slots__ = ("_ahead", "highest_id", "n_in_order")

    def __init__(self) -> None:
        self.n_in_order = 0
        self.highest_id = -1
        self._ahead: set[int] = set()

    def __contains__(self, image_id: int) -> bool:
        return image_id < self.n_in_order or image_id in self._ahead

    def __len__(self) -> int:
        return self.n_in_order + len(self._ahead)

    def add(self, image_id: int) -> None:
        """Note that an image is here."""
        self.highest_id = max(self.highest_id, image_id)
        self._ahead.add(image_id)
        while self.n_in_order in self._ahead:
            self._ahead.remove(self.n_in_order)
            self.n_in_order += 1

    def has_all(self, n_images: int | None) -> bool:
        """Whether nothing is missing: of `n_images`, or up to the highest where nothing was promised."""
        return not self._ahead if n_images is None else self.n_in_order >= n_images

    def has_all_with(self, image_id: int, n_images: int | None) -> bool:
        """Whether nothing would be missing after this image, which is not here yet."""
        if image_id != self.n_in_order:
            return self.has_all(n_images) and n_images is not None
        # the images that wait right behind it follow in order
        end = image_id + 1
        while end in self._ahead:
            end += 1
        return end > max(self.highest_id, image_id) if n_images is None else end >= n_images
