"""The controller's side of registry_images: transfers what is copied from there, and shows each image as it is done."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.wharf.registry.plugins.module_utils.bundles import check_room
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.text import human_bytes, one_line, pluralize

Result = dict[str, Any]
display = Display()


class Failed(Exception):
    """The module failed as a whole; with what it returned."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.get("msg"))
        self.result = result


class ActionModule(ActionBase):
    """Runs the module in the background, and asks for its results until all are there."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> Result:
        """Copy the images; return what the module returns."""
        super().run(tmp, task_vars)
        self.task_vars = task_vars or {}
        images = self._task.args.get("images")
        if not isinstance(images, list):
            return dict(self._execute_module(task_vars=self.task_vars))  # which refuses it
        host = self._task.delegate_to or self.task_vars["inventory_hostname"]
        if not self._task.check_mode:
            # Ansible shows the task's name with its result, when these lines have been shown.
            display.display(f"{host}: copying {pluralize(len(images), 'image')}")
        results: list[Result] = []
        try:
            for result in self.results(images):
                results.append(result)
        except Failed as failed:
            return failed.result
        except AnsibleConnectionFailure as error:
            done = {result["image"] for result in results}
            reason = f"{host} cannot be reached: {one_line(error)}"
            results += [self.lost(image, reason) for image in images if image["image"] not in done]
        failures = [f"{result['image']}: {result['msg']}" for result in results if result["failed"]]
        return {
            "changed": any(result["pending"] and not result["failed"] for result in results),
            "images": results,
            "failed": bool(failures),
            "msg": "; ".join(failures),
        }

    def results(self, images: list[Result]) -> Iterator[Result]:
        """Yield what becomes of each image."""
        here = [image for image in images if image.get("archive") or image.get("source", "bundle") == "bundle"]
        there = [image for image in images if image not in here]
        if self._task.check_mode:
            yield from self.find_pending(images)[0]
            return
        if not here:
            yield from self.copy(there)
            return
        found, rooms = self.find_pending(here)
        needed = [result["image"] for result in found if result["pending"] and not result["failed"]]
        yield from (self.show(result) for result in found if result["image"] not in needed)
        coming = [image for image in here if image["image"] in needed]
        with self.transferred(rooms, coming) as (paths, failures):
            for image in coming:
                file = self.file_of(image)
                if file in failures:
                    yield self.lost(image, failures[file])
                else:
                    there.append({**image, "archive": paths[file]} if image.get("archive") else image)
            yield from self.copy(there, bundle=paths.get(self._task.args.get("bundle")))

    def file_of(self, image: Result) -> str:
        """Return the file on the controller that an image comes from."""
        return str(image.get("archive") or self._task.args["bundle"])

    def find_pending(self, images: list[Result]) -> tuple[list[Result], list[Result]]:
        """Return which of the images are pending, and how much room there is for them; nothing changes."""
        before, self._task.check_mode = self._task.check_mode, True
        try:
            found = self.module(images=images)
        finally:
            self._task.check_mode = before
        return found["images"], found["rooms"]

    @contextmanager
    def transferred(self, rooms: list[Result], images: list[Result]) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
        """Transfer the files of images into a private directory on the host, which is removed again.

        The directory is that of the user who logs in: with become, a file would be there twice for a while.

        Args:
            rooms: where they go, and where the registry has its data.
            images: what they are needed for.

        Yields:
            The paths on the host, and why a file has none.
        """
        paths: dict[str, str] = {}
        files = sorted({self.file_of(image) for image in images})
        problem = no_room(rooms, files, images)
        failures = dict.fromkeys(files, problem) if problem else {}
        if problem or not files:
            yield paths, failures
            return
        place = shlex.quote(self._task.args.get("place", "/var/tmp"))
        made = self._low_level_execute_command(f"mktemp -d {place}/wharf-copy-XXXXXXXXXX", sudoable=False)
        if made["rc"] != 0:
            raise AnsibleActionFail(f"no directory can be made in {place}: {one_line(made['stderr'])}")
        directory = made["stdout"].strip()
        try:
            for number, path in enumerate(files):
                display.display(f"  {path}: transferring {human_bytes(os.path.getsize(path))}")
                try:
                    paths[path] = self._transfer_file(path, f"{directory}/{number}")
                except AnsibleConnectionFailure:
                    raise
                except AnsibleError as error:
                    failures[path] = one_line(error)
            yield paths, failures
        finally:
            self._low_level_execute_command(f"rm -rf {shlex.quote(directory)}", sudoable=False)

    def copy(self, images: list[Result], **also: Any) -> Iterator[Result]:
        """Copy images, and yield what becomes of each as soon as it is done."""
        if not images:
            return
        job = self.module(images=images, background=True, **also)["job"]
        missing = [image["image"] for image in images]
        answer: Result = {"finished": False}
        while not answer["finished"]:
            answer = self.module(job=job, after=len(images) - len(missing))
            for result in answer["images"]:
                missing.remove(result["image"])
                yield self.show(result)
        yield from (self.lost({"image": image}, answer["error"] or "it was interrupted") for image in missing)

    def module(self, **args: Any) -> Result:
        """Run the module with the task's arguments and these. Raises Failed where it has no results."""
        common = {} if "job" in args else self._task.args
        found: Result = self._execute_module(self._task.resolved_action, {**common, **args}, task_vars=self.task_vars)
        if found.get("failed") and "images" not in found:
            raise Failed(found)
        return found

    def lost(self, image: Result, reason: str) -> Result:
        """Show that an image was not copied, and why; return that as its result."""
        return self.show({"image": image["image"], "pending": True, "failed": True, "msg": reason})

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


def no_room(rooms: list[Result], files: list[str], images: list[Result]) -> str:
    """Return why files do not fit on the host, or their images into the registry; empty when they do."""
    # skopeo lays an archive out beside itself before it copies, and a bundle is unpacked.
    needs = [2 * sum(map(os.path.getsize, files))]
    needs.append(sum(image.get("size") or os.path.getsize(image["archive"]) for image in images))
    try:
        check_room(*zip(rooms, needs, strict=False))  # without a container, the second room is not known
    except WharfError as error:
        return str(error)
    return ""
