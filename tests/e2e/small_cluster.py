"""The service on a Ray cluster of this machine alone, for tests; it ends when its stdin does."""

from __future__ import annotations

import json
import sys

import ray
from ray import serve

from fast_vc_service import cluster


def main(port: int, folder: str, arguments: dict[str, str]) -> None:
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=folder,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(cluster.app(arguments))
    print("ready", flush=True)
    sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
