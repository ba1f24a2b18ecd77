"""The controller's side of registry_images: transfers what is copied from there, and shows each image as it is done."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.wharf.registry.plugins.module_utils.bundles import check_room
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.text import human_bytes, one_line, pluralize, table

Result = dict[str, Any]
display = Display()


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
        done: dict[str, Result] = {}
        try:
            for result in self.results(images):
                done[result["image"]] = result
        except AnsibleActionFail as failed:
            # Newer versions of Ansible say neither in the result.
            return {**failed.result, "failed": True, "msg": failed.message}
        except AnsibleConnectionFailure as error:
            lost = [image for image in images if image["image"] not in done]
            done.update({one["image"]: one for one in self.lost(lost, f"{host} cannot be reached: {one_line(error)}")})
        results = [done[image["image"]] for image in images]
        bad = [result["image"] for result in results if result["failed"]]
        return {
            "changed": any(result["pending"] and not result["failed"] for result in results),
            "images": results,
            "failed": bool(bad),
            "msg": f"not copied, for the reasons in the table: {', '.join(bad)}" if bad else "",
            "table": "\n".join(table([("image", "digest", "size", "seconds"), *map(row, results)])),
        }

    def results(self, images: list[Result]) -> Iterator[Result]:
        """Yield what becomes of each image."""
        if self._task.check_mode:
            yield from self.find_pending(images)["images"]
            return
        local = [image for image in images if self.file_of(image)]
        ready = [image for image in images if not self.file_of(image)]
        found = self.find_pending(local) if local else {"images": [], "rooms": []}
        for result in found["images"]:
            if result["failed"] or not result["pending"]:
                yield self.show(result)
                local = [image for image in local if image["image"] != result["image"]]
        files = sorted({self.file_of(image) for image in local})
        if problem := no_room(found["rooms"], files, local):
            yield from self.lost(local, problem)
            files = []
        directory, paths = self.private_directory() if files else "", {}
        try:
            for number, file in enumerate(files):
                display.display(f"  {file}: transferring {human_bytes(os.path.getsize(file))}")
                of_file = [image for image in local if self.file_of(image) == file]
                try:
                    paths[file] = self._transfer_file(file, f"{directory}/{number}")
                    ready += [{**image, "archive": paths[file]} for image in of_file]
                except AnsibleConnectionFailure:
                    raise
                except AnsibleError as error:
                    yield from self.lost(of_file, one_line(error))
            yield from self.copy(ready, bundle=paths.get(self._task.args.get("bundle")))
        finally:
            if directory:
                self._low_level_execute_command(f"rm -rf {shlex.quote(directory)}", sudoable=False)

    def file_of(self, image: Result) -> str:
        """Return the file on the controller that an image comes from; empty where it comes from elsewhere."""
        is_bundled = image.get("source", "bundle") == "bundle"
        return str(self._task.args["bundle"] if is_bundled else image.get("archive") or "")

    def find_pending(self, images: list[Result]) -> Result:
        """Return which of the images are pending, and how much room there is for them; nothing changes."""
        before, self._task.check_mode = self._task.check_mode, True
        try:
            return self.module({**self._task.args, "images": images})
        finally:
            self._task.check_mode = before

    def private_directory(self) -> str:
        """Make a directory of the user who logs in: with become, a file would be there twice for a while."""
        made = self._low_level_execute_command("mktemp -d /var/tmp/wharf-copy-XXXXXXXXXX", sudoable=False)
        if made["rc"] != 0:
            raise AnsibleActionFail(f"no directory can be made in /var/tmp: {one_line(made['stderr'])}")
        return made["stdout"].strip()

    def copy(self, images: list[Result], **also: Any) -> Iterator[Result]:
        """Copy images, and yield what becomes of each as soon as it is done."""
        missing = {image["image"]: image for image in images}
        args = {**self._task.args, "images": images, **also}
        answer = {"finished": not images, "error": ""}
        while not answer["finished"]:
            answer = self.module(args)
            for result in answer["images"]:
                del missing[result["image"]]
                yield self.show(result)
            args = {"job": answer["job"], "after": len(images) - len(missing)}
        yield from self.lost(list(missing.values()), answer["error"] or "it was interrupted")

    def module(self, args: Result) -> Result:
        """Run the module. Raises AnsibleActionFail where it has no results."""
        found: Result = self._execute_module(self._task.resolved_action, args, task_vars=self.task_vars)
        if found.get("failed"):
            raise AnsibleActionFail(found.get("msg", ""), result=found)
        return found

    def lost(self, images: list[Result], reason: str) -> Iterator[Result]:
        """Show that images were not copied, and why; yield that as their results."""
        for image in images:
            yield self.show({"image": image["image"], "pending": True, "failed": True, "msg": reason})

    def show(self, result: Result) -> Result:
        """Show what became of an image; return it."""
        if result["failed"]:
            line, color = f"failed: {one_line(result['msg'])}", C.COLOR_ERROR
        elif result["pending"]:
            line, color = f"copied, {human_bytes(result['size'])} in {result['seconds']:.1f} s", C.COLOR_CHANGED
        else:
            line, color = "already there", C.COLOR_OK
        if remarks := remarks_on(result):
            line = f"{line} ({remarks})"
        display.display(f"  {result['image']}: {line}", color=color)
        return result


def remarks_on(result: Result) -> str:
    """Return what else is to be told about an image."""
    attached = len(result.get("attached", []))
    parts = [f"with {pluralize(attached, 'tag')} of what belongs to it"] if attached else []
    return "; ".join([*parts, *([result["note"]] if result.get("note") else [])])


def row(result: Result) -> tuple[str, str, str, str]:
    """Return what became of an image, as a row of the table."""
    if result["failed"]:
        return result["image"], "", "FAILED", result["msg"]
    size, seconds = "would be copied" if result["pending"] else "already there", ""
    if "seconds" in result:
        size, seconds = human_bytes(result["size"]), f"{result['seconds']:.1f}"
    if remarks := remarks_on(result):
        seconds = f"{seconds} ({remarks})".strip()
    return result["image"], result["digest"][: len("sha256:") + 12], size, seconds


def no_room(rooms: list[Result], files: list[str], images: list[Result]) -> str:
    """Return why files do not fit on the host, or their images into the registry; empty when they do."""
    # What docker save wrote may be packed, and skopeo unpacks it beside the file.
    saved = {one["archive"] for one in images if one.get("source", "").startswith("docker-archive:")}
    needs = [sum(os.path.getsize(file) * (2 if file in saved else 1) for file in files)]
    for is_cached in (False, True):
        own = (image for image in images if bool(image.get("cache")) is is_cached)
        needs.append(sum(image.get("size") or os.path.getsize(image["archive"]) for image in own))
    try:
        check_room(*(one for one in zip(rooms, needs, strict=False) if one[0]))
    except WharfError as error:
        return str(error)
    return ""
