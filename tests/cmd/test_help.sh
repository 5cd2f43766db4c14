#!/bin/sh
# tests/cmd/test_help.sh - every command explains itself, and the manual page knows every command and option.
. "$(dirname "$0")/lib.sh"

expect 64 'usage: hanse COMMAND [options]'
expect 0 'usage: hanse COMMAND [options]' --help
expect 0 'usage: hanse COMMAND [options]' help
expect 0 "hanse $(cat "$top/VERSION")" --version
expect 64 "there is no command 'hots'; did you mean 'host'?" hots
expect 64 "there is no command 'put'; did you mean 'hanse dht put'?" put x
expect 64 "there is no option --verzion; did you mean --version?" --verzion
expect 64 "there is no option --version; a command comes first" dht --version
expect 64 "there is no command 'frobnicate'; 'hanse --help' lists them" frobnicate

page=$top/doc/hanse.1
commands=$("$hanse" --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
check test "$(echo "$commands" | wc -w)" -ge 11
for command in $commands; do
    expect 0 "usage: hanse $command" "$command" --help
    expect 64 "there is no option --nonsense-of-tests" "$command" --nonsense-of-tests
    check grep -q "^\.Ss hanse $command\$" "$page"
    options=$("$hanse" "$command" --help | sed -n 's/^  --\([a-z-]*\).*/\1/p')
    # 'hanse dht' has commands of its own, in one section.
    if [ "$command" = dht ]; then
        tools=$("$hanse" dht --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
        check test "$(echo "$tools" | wc -w)" -ge 6
        for tool in $tools; do
            expect 0 "usage: hanse dht $tool" dht "$tool" --help
            expect 64 "there is no option --nonsense-of-tests" dht "$tool" --nonsense-of-tests
            check grep -q "^\.It Cm $tool\( \|\$\)" "$page"
            options="$options $("$hanse" dht "$tool" --help | sed -n 's/^  --\([a-z-]*\).*/\1/p')"
        done
    fi
    # And 'hanse bench dht' has a section of its own.
    if [ "$command" = bench ]; then
        expect 0 "usage: hanse bench dht" bench dht --help
        expect 64 "there is no option --nonsense-of-tests" bench dht --nonsense-of-tests
        sed -n -e "/^\.Ss hanse bench dht\$/,/^\.S[sh] /p" -e '/^\.Ss Common options$/,/^\.S[sh] /p' "$page" >"$tmp/section"
        for option in $("$hanse" bench dht --help | sed -n 's/^  --\([a-z-]*\).*/\1/p'); do
            check grep -q "^\.It Fl -$option\( \|\$\)" "$tmp/section"
        done
    fi
    for option in $options; do
        # Within the command's own section of the page, or among the options common to all.
        sed -n -e "/^\.Ss hanse $command\$/,/^\.S[sh] /p" -e '/^\.Ss Common options$/,/^\.S[sh] /p' "$page" >"$tmp/section"
        check grep -q "^\.It Fl -$option\( \|\$\)" "$tmp/section"
    done
done

# A terminal that is full is an error like any other.
n_checks=$((n_checks + 1))
if [ -w /dev/full ]; then
    "$hanse" --help >/dev/full 2>"$out"
    [ $? -eq 74 ] || fail "hanse --help >/dev/full: status is not 74"
fi
verdict
