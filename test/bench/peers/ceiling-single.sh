# shellcheck shell=bash
# The ceiling without joined writes: one write for each subscriber and message.
source "$here/peers/ceiling.sh"
modes="fan1k fan10k publish10k"
speed=1
joined=
