# Pushes images at the same time, each until that succeeds, but so many times at most. DIRECTORY/failed has what failed in
# the end, DIRECTORY/digests a line for each of the others: its reference and its digest. Then there is DIRECTORY/ended.
#
#   sh push-often.sh DIRECTORY TIMES REFERENCE...
rm -rf "$1" && mkdir "$1" && cd "$1" || exit
times=$2 number=0
shift 2
touch failed digests
for reference; do
    number=$((number + 1))
    (
        for _ in $(seq "$times"); do
            if docker push "$reference" >$number.log 2>&1; then
                echo "$reference $(sed -n 's/.*digest: \(sha256:[0-9a-f]*\) .*/\1/p' $number.log)" >>digests
                exit
            fi
        done
        { echo "$reference" && tail -n 3 $number.log; } >>failed
    ) &
done
wait
touch ended
