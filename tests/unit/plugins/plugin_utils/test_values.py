"""What all checks share."""

from __future__ import annotations

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.wharf.registry.plugins.plugin_utils.values import plain, problems_on_hosts


def test_hosts_that_are_alike_are_judged_once_and_a_mistake_of_some_names_them():
    judged = []

    def judge(given):
        judged.append(given)
        return [f"x_port: {given['x_port']} is wrong"] if given["x_port"] else []

    hostvars = {"a": {"x_port": 0, "y": 1}, "b": {"x_port": 7, "y": 2}, "c": {"x_port": 0, "y": 3}}
    assert problems_on_hosts(hostvars, ["a", "b", "c"], "x_", judge) == ["x_port: 7 is wrong (on b)"]
    assert judged == [{"x_port": 0}, {"x_port": 7}]
    assert problems_on_hosts(hostvars, ["b"], "x_", judge) == ["x_port: 7 is wrong"]


def test_ansibles_containers_become_plain_ones():
    seen = []

    def recorded(value):
        seen.append((type(value), plain(value)))
        return ""

    variables = {"list": [{"item": trust_as_template("{{ 1 + 1 }}")}]}
    templar = Templar(DataLoader(), variables)
    templar.environment.filters["recorded"] = recorded
    templar.template(trust_as_template("{{ list | recorded }}"))
    [(before, after)] = seen
    assert before is not list
    assert after == [{"item": 2}]
    assert [type(after), type(after[0])] == [list, dict]
