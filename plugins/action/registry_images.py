"""The controller's side of registry_images: brings what the module copies from, and shows each image when it is done."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.wharf.registry.plugins.module_utils.bundles import check_room
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.text import human_bytes, one_line

Result = dict[str, Any]


class ActionModule(ActionBase):
    """Runs the module in the background, and asks for its results until all are there."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> Result:
        """Copy the images; return what the module returns."""
        super().run(tmp, task_vars)
        self.task_vars = task_vars or {}
        args = self._task.args
        if not isinstance(args.get("images"), list):
            return self.module()  # which refuses it
        try:
            results = list(self.results(args["images"]))
        except Failed as failed:
            return failed.result
        failures = [f"{result['image']}: {result['msg']}" for result in results if result["failed"]]
        return {
            "changed": any(result["pending"] and not result["failed"] for result in results),
            "images": results,
            "failed": bool(failures),
            "msg": "; ".join(failures),
        }

    def results(self, images: list[dict[str, Any]]) -> Iterator[Result]:
        """Yield what becomes of each image."""
        here = [image for image in images if is_here(image)]
        there = [image for image in images if not is_here(image)]
        if self._task.check_mode:
            yield from self.look(images)[0]
            return
        if not here:
            yield from self.copy(there)
            return
        found, rooms = self.look(here)
        needed = [result["image"] for result in found if result["pending"] and not result["failed"]]
        yield from (self.show(result) for result in found if result["image"] not in needed)
        coming = [image for image in here if image["image"] in needed]
        files = {image.get("archive") or self._task.args["bundle"] for image in coming}
        try:
            self.check_room(rooms, coming, files)
        except WharfError as error:
            failure = {"pending": True, "digest": "", "size": 0, "seconds": 0.0, "failed": True, "msg": str(error)}
            yield from (self.show({"image": image, **failure}) for image in needed)
            coming, files = [], set()
        with self.brought(files) as paths:
            for image in coming:
                if image.get("archive"):
                    there.append({**image, "archive": paths[image["archive"]]})
                else:
                    there.append(image)
            yield from self.copy(there, bundle=paths.get(self._task.args.get("bundle")))

    def look(self, images: list[dict[str, Any]]) -> tuple[list[Result], list[Result]]:
        """Return which of the images are pending, and how much room there is for them; nothing changes."""
        before, self._task.check_mode = self._task.check_mode, True
        try:
            found = self.module(images=images)
        finally:
            self._task.check_mode = before
        if "images" not in found:
            raise Failed(found)
        return found["images"], found["rooms"]

    def check_room(self, rooms: list[Result], coming: list[dict[str, Any]], files: set[str]) -> None:
        """Refuse files for which there is no room. Raises WharfError."""
        # skopeo lays an archive out beside itself before it copies, and a bundle is unpacked.
        sizes = [2 * sum(map(os.path.getsize, files)), sum(self.size(image) for image in coming)]
        check_room(*zip(rooms, sizes))

    @staticmethod
    def size(image: dict[str, Any]) -> int:
        """Return what an image will take in the registry, as far as that is known."""
        return int(image.get("size") or os.path.getsize(image["archive"]))

    @contextmanager
    def brought(self, files: set[str]) -> Iterator[dict[str, str]]:
        """Bring files into a private directory on the host, of the user who logs in; yield the path of each there.

        With become, Ansible would hold all of a file in memory, or have it there twice.
        """
        if not files:
            yield {}
            return
        place = self._task.args.get("place", "/var/tmp")
        made = self._low_level_execute_command(f"mktemp -d {shlex.quote(place)}/wharf-copy-XXXXXXXXXX", sudoable=False)
        if made["rc"] != 0:
            raise AnsibleActionFail(f"no directory can be made in {place}: {one_line(made['stderr'])}")
        directory = made["stdout"].strip()
        paths = {path: f"{directory}/{number}" for number, path in enumerate(sorted(files))}
        try:
            for path, remote in paths.items():
                display.display(f"  bringing {path}, {human_bytes(os.path.getsize(path))}")
                self._transfer_file(path, remote)
            yield paths
        finally:
            self._low_level_execute_command(f"rm -rf {shlex.quote(directory)}", sudoable=False)

    def copy(self, images: list[dict[str, Any]], **also: Any) -> Iterator[Result]:
        """Copy images, and yield what becomes of each as soon as it is done."""
        if not images:
            return
        job = self.module(images=images, background=True, **also)["job"]
        missing = [image["image"] for image in images]
        finished = False
        while not finished:
            answer = self.module(job=job, after=len(images) - len(missing))
            for result in answer["images"]:
                missing.remove(result["image"])
                yield self.show(result)
            finished = answer["finished"]
        for image in missing:
            yield self.show({"image": image, "pending": True, "failed": True, "msg": "its copy was interrupted"})

    def module(self, **args: Any) -> Result:
        """Run the module with the task's arguments and these instead. Raises Failed where it has no results."""
        asks = {"job", "after"} & set(args)
        own = {} if asks else dict(self._task.args)
        found = self._execute_module(self._task.resolved_action, {**own, **args}, task_vars=self.task_vars)
        if found.get("failed") and "images" not in found:
            raise Failed(found)
        return found

    def show(self, result: Result) -> Result:
        """Show what became of an image; return it."""
        if result["failed"]:
            line, color = f"failed: {one_line(result['msg'])}", C.COLOR_ERROR
        elif result["pending"]:
            line, color = f"copied, {human_bytes(result['size'])} in {result['seconds']:.1f} s", C.COLOR_CHANGED
        else:
            line, color = "already there", C.COLOR_OK
        display.display(f"  {result['image']}: {line}", color=color)
        return result


class Failed(Exception):
    """The module failed as a whole; with what it returned."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.get("msg"))
        self.result = result


def is_here(image: dict[str, Any]) -> bool:
    """Tell whether an image comes from the controller."""
    return bool(image.get("archive")) or image.get("source") == "bundle"


display = Display()
