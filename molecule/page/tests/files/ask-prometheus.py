"""Print what the Prometheus of this host answers to queries: reads them as a list in JSON, prints a list of results."""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request


def ask(query: str) -> object:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:9090/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        ) as answer:
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        return json.load(error)["error"]


print(json.dumps([ask(query) for query in json.load(sys.stdin)]))
