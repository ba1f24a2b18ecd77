"""The registry's configuration: merged, with one storage driver."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils import server_config as module

BASE = {
    "log": {"level": "error", "accesslog": {"disabled": True}},
    "storage": {"filesystem": {"rootdirectory": "/data"}, "cache": {"blobdescriptor": "inmemory"}},
}


def test_dicts_are_merged_and_values_replaced():
    merged = module.merged_config(BASE, {"log": {"level": "debug"}}, {"http": {"addr": ":5000"}})
    assert merged["log"] == {"level": "debug", "accesslog": {"disabled": True}}
    assert merged["http"] == {"addr": ":5000"}
    assert merged["storage"] == BASE["storage"]


def test_null_takes_a_key_away():
    assert module.merged_config(BASE, {"log": {"accesslog": None}})["log"] == {"level": "error"}


def test_another_driver_replaces_the_file_system():
    merged = module.merged_config(BASE, {"storage": {"s3": {"bucket": "images"}}})
    assert merged["storage"] == {"s3": {"bucket": "images"}, "cache": {"blobdescriptor": "inmemory"}}


def test_an_option_of_the_storage_is_no_driver():
    merged = module.merged_config(BASE, {"storage": {"delete": {"enabled": True}}})
    assert set(merged["storage"]) == {"filesystem", "cache", "delete"}


def test_arguments_stay_as_they_are():
    before = repr(BASE)
    module.merged_config(BASE, {"log": {"level": "debug"}, "storage": {"s3": {}}})
    assert repr(BASE) == before


def test_the_keys_of_a_configuration_are_named_by_their_paths():
    config = {"redis": {"addrs": ["redis:6379"], "pool": {"maxidle": 16}, "db": None}, "storage": None}
    assert module.config_keys(config) == ["redis", "redis.addrs", "redis.pool", "redis.pool.maxidle"]
