"""Views: what the network sees of a frame, and the way back."""

import numpy as np
import pytest

from SAMUSALib.engine.views import MIN_VIEW, ZOOM, View


def test_a_view_around_an_extent_is_square_centred_and_zoomed():
    view = View.around((40, 60, 80, 70), (300, 400))
    assert view.width == view.height == 40 * ZOOM
    assert view.x0 + view.width / 2 == pytest.approx(60.5, abs=0.5)
    assert view.y0 + view.height / 2 == pytest.approx(65.5, abs=0.5)


def test_a_view_is_never_larger_than_the_frame_nor_smaller_than_speckle():
    assert View.around((0, 0, 399, 299), (300, 400)).width == 400
    assert View.around((50, 50, 52, 51), (300, 400)).width == MIN_VIEW


def test_pixels_that_are_not_square_give_views_that_are_square_in_space():
    view = View.around((40, 60, 80, 70), (300, 400), aspect=2.0)
    assert (view.width, view.height) == (80, 40)
    whole = View.square((300, 400), aspect=2.0)
    assert (whole.width, whole.height) == (600, 300)


@pytest.mark.parametrize("view", [View(10, 20, 30, 30), View(-8, -5, 40, 40), View(50, 40, 60, 60)])
def test_pasting_what_was_cut_restores_the_frame_inside_the_view(view):
    frame = np.random.default_rng(0).integers(1, 255, (64, 80)).astype(np.uint8)
    part = view.cut(frame)
    assert part.shape == (view.height, view.width)
    restored = view.paste(part, frame.shape, np.uint8(0))
    inside = restored > 0
    assert inside.any() and np.array_equal(restored[inside], frame[inside])
    y, x = np.nonzero(inside)
    assert x.min() == max(view.x0, 0) and x.max() == min(view.x0 + view.width, 80) - 1
    assert y.min() == max(view.y0, 0) and y.max() == min(view.y0 + view.height, 64) - 1


def test_a_bright_pixel_is_found_where_its_coordinates_say():
    frame = np.zeros((60, 80), np.uint8)
    frame[33, 47] = 255
    view = View(30, 20, 24, 24)
    image = view.network_input(frame, 96).numpy()
    y, x = np.unravel_index(image[0].argmax(), (96, 96))
    expected = view.to_network([[47, 33]], 96)[0]
    assert np.abs(expected - [x, y]).max() <= 0.5 + 1e-6


def test_whole_frame_coordinates_keep_the_frame_corners():
    view = View.whole((60, 80))
    corners = view.to_network([[-0.5, -0.5], [79.5, 59.5]], 256)
    assert np.allclose(corners, [[-0.5, -0.5], [255.5, 255.5]])


def test_a_view_is_kept_while_the_structure_stays_inside_and_of_similar_size():
    size = (300, 400)
    view = View.around((100, 100, 150, 150), size)

    def kept(extent):
        return view.suits(extent, View.around(extent, size))

    assert kept((105, 98, 155, 150))
    assert not kept((145, 100, 195, 150)), "it has left the middle"
    assert not kept((100, 100, 118, 118)), "it has become small"


def test_colour_and_grey_frames_become_three_channels():
    assert View(0, 0, 20, 20).network_input(np.zeros((20, 20), np.uint8), 32).shape == (3, 32, 32)
    colour = np.zeros((20, 20, 3), np.uint8)
    colour[..., 1] = 255
    image = View(0, 0, 20, 20).network_input(colour, 32)
    assert image[1].min() > 0.99 and image[0].max() == 0
