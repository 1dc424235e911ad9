# One per test process: reads what that process owns, and when the pipe ends, because the process is gone,
# kills and removes what is left of it. Signals meant for the tests' terminal must not end it first.
trap '' HUP INT TERM
groups=
folders=
while read -r verb thing; do
    case $verb in
    group) groups="$groups $thing" ;;
    folder) folders="$folders$thing
" ;;
    forget)
        rest=
        for group in $groups; do
            [ "$group" = "$thing" ] || rest="$rest $group"
        done
        groups=$rest
        ;;
    esac
done
for group in $groups; do
    kill -9 "-$group"
done
printf '%s' "$folders" | while read -r folder; do
    # A killed process may still finish one write.
    rm -rf "$folder" || { sleep 1 && rm -rf "$folder"; }
done
