# Pushes images at the same time, each with so many seconds. When a push has ended, what Docker said and its exit code
# are in DIRECTORY/NUMBER, counted from 1; until then in NUMBER.log.
#
#   sh push-all.sh DIRECTORY SECONDS REFERENCE...
mkdir "$1" && cd "$1" || exit
seconds=$2 number=0
shift 2
for reference; do
    number=$((number + 1))
    (
        timeout "$seconds" docker push "$reference" >$number.log 2>&1
        echo $? >>$number.log
        mv $number.log $number
    ) &
done
wait
