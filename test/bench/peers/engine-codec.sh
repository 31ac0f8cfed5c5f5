# shellcheck shell=bash
# The engine with a script of generation 1 and the shipped codec.
source "$here/peers/engine.sh"
modes="echo1 echo16 fan1k fan10k publish10k idle10k connect channels echo16-2 fan1k-2 growth-fanout growth-memory growth-load"
script=$here/engine/codec.lua
protocol=
