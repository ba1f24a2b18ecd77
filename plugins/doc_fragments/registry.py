"""What the modules of the role registry_server are all told of the registry."""

from __future__ import annotations


class ModuleDocFragment:
    """What Ansible looks for."""

    DOCUMENTATION = r"""
options:
  registry:
    description: The registry as it should be.
    type: dict
    required: true
    suboptions:
      container: {description: The container's name., type: str, required: true}
      name: {description: The name or address that clients use., type: str, required: true}
      port: {description: The TCP port that clients use., type: int, required: true}
      listen:
        description: The IP addresses that it listens on; none for all.
        type: list
        elements: str
        default: []
      tls: {description: Whether the registry speaks TLS., type: bool, required: true}
      tls_directory:
        description: The directory of registry.crt, registry.key and ca.crt.
        type: path
        required: true
      directory: {description: The directory of config.yml., type: path, required: true}
      gateway_directory:
        description: The directory of the gateway's configuration and users.
        type: path
        required: true
      data:
        description: Where the images are kept, an absolute directory or the name of a volume.
        type: str
        required: true
      uid:
        description: The number of the user, and of the group, that the registry runs as.
        type: int
        required: true
      memory_limit:
        description: The container's memory limit in bytes; 0 for none.
        type: int
        required: true
      image: {description: The image that it runs., type: str, required: true}
      gateway_image: {description: The image that its gateway runs., type: str, required: true}
      config: {description: The text of config.yml., type: str, required: true}
      gateway_config: {description: The text of nginx.conf., type: str, required: true}
      page: {description: Whether the gateway serves the registry's page., type: bool, required: true}
      has_network:
        description: Whether the registry's own container has a network, as to reach an object store.
        type: bool
        required: true
      caches:
        description:
          - The containers that fetch from other registries, and the one that serves what they have, each with its
            C(name), the C(config) and the C(ca) that it reads, its C(environment), and the C(size) in bytes that it
            may have. One that is C(offline) has no container, and only what bundles have brought.
        type: list
        elements: dict
        default: []
      caches_data: {description: Where what they have fetched is kept., type: path, default: ""}
      mirror_port:
        description: The port at which the cache of Docker Hub is a mirror; 0 for none.
        type: int
        default: 0
      users:
        description: A line NAME:PASSWORD for each user; empty for a registry without users.
        type: str
        required: true
      bcrypt_cost:
        description: The bcrypt cost of the stored passwords; 0 for salted SHA-1.
        type: int
        required: true
      settings:
        description: The text of C(/etc/wharf/registry.json), which the command C(wharf) reads.
        type: str
        required: true
"""
