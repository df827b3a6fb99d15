#!/bin/sh
# Makes the programme of the test number anew, once per codec, from nothing but Debian packages:
#
#     apt install espeak-ng sox libsox-fmt-all ffmpeg opus-tools golang
#     make programme
#
# The results are committed, so nobody needs these tools to build or run the service. What is in which file
# is told in README.md beside this script.
set -eu

cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The announcer. espeak-ng speaks at 22,050 Hz; the filters take the rumble away and even the level out, so
# that every announcement peaks at -9 dBFS, the permitted maximum at an alignment of -18 dBFS.
say() { # name voice words-per-minute text
	espeak-ng -v "$2" -s "$3" -p 42 -g 2 -w "$work/raw.wav" "$4"
	sox -D "$work/raw.wav" -r 48000 -b 16 "$work/$1.wav" \
		rate -v 48000 highpass 80 equalizer 220 1q +2 equalizer 3200 1q -2 \
		compand 0.005,0.12 6:-60,-60,-30,-20,-12,-12,0,-10 0 -90 0.02 \
		silence 1 0.01 -60d reverse silence 1 0.01 -60d fade t 0.02 reverse \
		fade t 0.004 norm -9
}
say ident.fr fr-fr 150 "Ici Liaison. Numéro de test: quinze mille."
say ident.en en-gb-x-rp 150 "This is Liaison. Test number: fifteen thousand."
say left.fr fr-fr 150 "Gauche."
say left.en en-gb-x-rp 150 "Left."
say right.fr fr-fr 150 "Droite."
say right.en en-gb-x-rp 150 "Right."

go run compose.go "$work" # -> stereo.wav, mono.wav

# Every codec gets the loop three times and the middle one is kept: there the encoder's memory at the end is
# what it was at the beginning, and the loop joins without a click.
for f in stereo mono; do sox -D "$work/$f.wav" "$work/$f.3.wav" repeat 2; done
sox -D "$work/mono.3.wav" "$work/8k.wav" rate -v 8000
sox -D "$work/mono.3.wav" "$work/16k.wav" rate -v 16000

quiet="-hide_banner -loglevel error -y"
ffmpeg $quiet -i "$work/8k.wav" -f alaw "$work/3.pcma"
ffmpeg $quiet -i "$work/8k.wav" -f mulaw "$work/3.pcmu"
ffmpeg $quiet -i "$work/16k.wav" -c:a g722 -f g722 "$work/3.g722"
ffmpeg $quiet -i "$work/stereo.3.wav" -c:a libtwolame -mode stereo -b:a 256k -f mp2 "$work/3.mp2"
opusenc --quiet --music --bitrate 128 --framesize 20 --discard-comments --serial 1 "$work/stereo.3.wav" "$work/3.opus"

go run pack.go "$work" .
ls -l programme.*
