"""The video pipeline: clips and frames per second and core, against the bare decoders; and its memory over many clips.

    python -m benchmarks.clips                  # throughput
    python -m benchmarks.clips --leak 5000      # memory

H.264 files of photographs (of scikit-image) that pan, 4 seconds long, with B-frames and a key frame every 2 seconds. A clip is
16 frames, every fourth, from a random place. The bare decoder opens the file and reads the frames of the clip as RGB; ours also
checks the container, works out the timeline, crops at random, resizes to 224 pixels with an antialiased filter and mirrors.
Both read the same frames with one thread, in turns; processor time, median of the rounds.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8
from numpy import ndarray
from rich.console import Console
from rich.table import Table

from benchmarks.photos import PHOTOS
from benchmarks.timing import interleaved
from benchmarks.train_step import picture
from modalities.video.decode import Decoder, read_clip
from modalities.video.frames import Timeline
from modalities.video.observations import VideoFiles, checked_reading
from modalities.video.sampling import checked_sampling
from worldjepa.data.paths import PathTable

FRAMES, STRIDE, SIZE, SCALE = 16, 4, 224, (0.3, 1.0)
RATE, LENGTH, KEYFRAMES = 24, 96, 48
SIZES = ((340, 256), (640, 360), (1280, 720))
DECODERS: tuple[Decoder, ...] = ("decord", "pyav")
SAMPLING = checked_sampling(FRAMES, STRIDE, None, "hold")
FILES = 3


def write(path: Path, photo: str, width: int, height: int, length: int = LENGTH) -> None:
    """A photograph that pans by a pixel or two a frame."""
    whole = np.asarray(picture(photo, width + 2 * length, height + length))
    with av.open(str(path), "w") as container:
        options = {"crf": "23", "preset": "veryfast", "g": str(KEYFRAMES)}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(length):
            part = np.ascontiguousarray(whole[number : number + height, 2 * number : 2 * number + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(part, format="rgb24")))
        container.mux(stream.encode())


def generator(index: int) -> torch.Generator:
    """The generator of one clip."""
    return torch.Generator().manual_seed(index)


def chosen(index: int) -> list[int]:
    """The frames that our pipeline takes with that generator."""
    return SAMPLING.choose(Timeline(np.arange(LENGTH) / RATE, LENGTH / RATE), generator(index)).tolist()


def bare_decord(path: str, frames: list[int]) -> UInt8[ndarray, "T H W 3"]:
    """The frames by decord, and nothing else."""
    import decord

    video = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    pixels: UInt8[ndarray, "T H W 3"] = video.get_batch(frames).asnumpy()
    return pixels


def bare_pyav(path: str, frames: list[int]) -> UInt8[ndarray, "T H W 3"]:
    """The frames by PyAV, from the key frame before the first of them, with time stamps worked out from the known rate."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        assert stream.time_base is not None
        ticks = round(1 / (RATE * stream.time_base))
        container.seek(frames[0] * ticks, stream=stream, backward=True)
        wanted, found = {frame * ticks for frame in frames}, []
        convert = VideoReformatter()  # a scaler for all frames: each one's own costs more than decoding small ones
        for frame in container.decode(stream):
            if frame.pts in wanted:
                found.append(convert.reformat(frame, format="rgb24").to_ndarray())
                if len(found) == len(frames):
                    break
    return np.stack(found)


BARE: dict[str, Callable[[str, list[int]], UInt8[ndarray, "T H W 3"]]] = {"decord": bare_decord, "pyav": bare_pyav}


def all_bare(decoder: str, paths: list[str]) -> None:
    """One clip of every file by the decoder alone."""
    for index, path in enumerate(paths):
        BARE[decoder](path, chosen(index))


def all_ours(files: VideoFiles) -> None:
    """One clip of every file by our pipeline."""
    for index in range(len(files)):
        files.observe(index, generator(index))


def ours(paths: list[str], decoder: str, frames: int = FRAMES, stride: int = STRIDE, size: int = SIZE) -> VideoFiles:
    """Files as our pipeline reads them for training."""
    return VideoFiles(
        "", PathTable(paths), checked_reading(frames, stride, None, "hold", 1, size, 3, SCALE, 0.5, decoder)
    )


def check_same_frames(paths: list[str]) -> None:
    """Make sure that all four read the same frames."""
    for index, path in enumerate(paths):
        frames = chosen(index)
        first = BARE["decord"](path, frames).astype(int)
        for decoder in DECODERS:
            seen: list[list[int]] = []

            def choose(timeline: Timeline, kept: list[list[int]] = seen, index: int = index) -> list[int]:
                kept.append(SAMPLING.choose(timeline, generator(index)).tolist())
                return kept[-1]

            pixels = read_clip(path, choose, decoder)
            assert seen == [frames]
            for other in (pixels, BARE[decoder](path, frames)):
                assert abs(other - first).mean() < 1.5


def throughput(rounds: int) -> Table:
    """Clips and frames per second and core."""
    table = Table(title=f"clips of {FRAMES} frames, every {STRIDE}th, random crops of {SIZE} pixels, one core")
    for heading in (
        "files",
        "KB",
        "decoder",
        "bare, clips/s",
        "ours, clips/s",
        "bare, frames/s",
        "ours, frames/s",
        "ratio",
    ):
        table.add_column(heading, justify="right" if heading != "decoder" else "left")
    with tempfile.TemporaryDirectory() as folder:
        for width, height in SIZES:
            paths = [str(Path(folder) / f"{photo}-{width}.mp4") for photo in list(PHOTOS)[:FILES]]
            for photo, path in zip(PHOTOS, paths, strict=False):
                write(Path(path), photo, width, height)
            check_same_frames(paths)
            work: dict[str, Callable[[], object]] = {}
            for name in DECODERS:
                work[f"bare {name}"] = partial(all_bare, name, paths)
                work[f"ours {name}"] = partial(all_ours, ours(paths, name))
            times = interleaved(work, rounds, warm_up=1)
            kilobytes = np.mean([Path(path).stat().st_size for path in paths]) / 1e3
            for name in DECODERS:
                bare, full = (len(paths) / times[f"{who} {name}"] for who in ("bare", "ours"))
                rates = [
                    f"{bare:.1f}",
                    f"{full:.1f}",
                    f"{bare * FRAMES:.0f}",
                    f"{full * FRAMES:.0f}",
                    f"{full / bare:.2f}",
                ]
                table.add_row(f"{width} x {height}", f"{kilobytes:.0f}", name, *rates)
    return table


# --- memory -----------------------------------------------------------------------------------------------------------


def resident() -> float:
    """The resident memory of this process in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


class _Malloc(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def in_use() -> float:
    """What of it was asked for and not given back, in megabytes (glibc): the rest is holes that can be used again."""
    ask = ctypes.CDLL("libc.so.6").mallinfo2
    ask.restype = _Malloc
    told = ask()
    return float(told.uordblks + told.hblkhd) / 1e6


def memory(
    paths: list[str], decoder: str, count: int, every: int, answer: multiprocessing.Queue[list[tuple[float, float]]]
) -> None:
    """Read clips in a process of its own; answers with resident memory and memory in use every so many of them."""
    torch.set_num_threads(1)
    files = ours(paths, decoder, frames=8, stride=2, size=64)
    told = []
    for clip in range(1, count + 1):
        files.observe(clip % len(files), generator(clip))
        if clip % every == 0:
            gc.collect()
            told.append((resident(), in_use()))
    answer.put(told)


def leak(count: int, every: int) -> Table:
    """Memory by number of clips."""
    table = Table(title=f"MB of memory over {count:,} clips of 8 frames, every 2nd, of 20 files of 192 x 128 pixels")
    for heading in ("clips", *(f"{name}, {what}" for name in DECODERS for what in ("resident", "in use"))):
        table.add_column(heading, justify="right")
    context, columns = multiprocessing.get_context("spawn"), []
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{number}.mp4") for number in range(20)]
        for number, path in enumerate(paths):
            write(Path(path), list(PHOTOS)[number % len(PHOTOS)], 192, 128, 24 + number)
        for decoder in DECODERS:
            answer: multiprocessing.Queue[list[tuple[float, float]]] = context.Queue()
            process = context.Process(target=memory, args=(paths, decoder, count, every, answer))
            process.start()
            columns.append(answer.get())
            process.join()
    for row, values in enumerate(zip(*columns, strict=True)):
        cells = [cell for kept, used in values for cell in (f"{kept:.1f}", f"{used:.2f}")]
        table.add_row(f"{(row + 1) * every:,}", *cells)
    return table


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--leak", type=int, default=0, metavar="CLIPS", help="measure memory over so many clips instead"
    )
    parser.add_argument("--every", type=int, default=500)
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = leak(given.leak, given.every) if given.leak else throughput(given.rounds)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
