# Pulls by tag and tells the digest that came, four at a time. References on standard input.
xargs -P 4 -I % sh -c '
    docker pull --quiet % >/dev/null 2>/tmp/pull.$$ || { echo "% $(tr "\n" " " </tmp/pull.$$)"; exit; }
    docker image inspect --format "% {{index .RepoDigests 0}}" %; docker image rm % >/dev/null'
