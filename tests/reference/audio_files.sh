#!/bin/sh
# Writes tests/data/audio: half a second of a chirp in every container and codec that `src/audio` reads and that the
# tests cannot write themselves. The expected samples are the formula below, evaluated in tests/audio/main.rs, so no
# reference decoder is needed. Needs ffmpeg with libopus, libvorbis and libmp3lame; the committed files were written by
# ffmpeg 5.1.
set -eu
out="$(dirname "$0")/../data/audio"
mkdir -p "$out"

# left: 200 Hz rising by 4800 Hz/s; right: a 440 Hz tone
left='0.5*sin(2*PI*(200*t+2400*t*t))'
right='0.25*sin(2*PI*440*t)'
mono() { rate=$1; shift; ffmpeg -nostdin -v error -y -f lavfi -i "aevalsrc='$left':s=$rate:d=0.5" -map_metadata -1 -fflags +bitexact -flags +bitexact "$@"; }
stereo() { rate=$1; shift; ffmpeg -nostdin -v error -y -f lavfi -i "aevalsrc='$left|$right':s=$rate:d=0.5" -map_metadata -1 -fflags +bitexact -flags +bitexact "$@"; }

cd "$out"
mono 16000 -c:a pcm_alaw alaw.wav
mono 16000 -c:a pcm_mulaw mulaw.wav
mono 16000 -c:a adpcm_ms adpcm_ms.wav
mono 16000 -c:a adpcm_ima_wav adpcm_ima.wav
stereo 8000 -c:a pcm_s16be stereo.aiff
mono 8000 -c:a pcm_s24be mono.caf
stereo 16000 -c:a flac stereo.flac
stereo 16000 -c:a flac stereo.oga
mono 16000 -c:a alac alac.m4a
mono 22050 -c:a aac -b:a 64k aac.m4a
mono 22050 -c:a aac -b:a 64k -movflags +frag_keyframe+empty_moov aac_fragmented.mp4
mono 22050 -c:a aac -b:a 64k adts.aac
ffmpeg -nostdin -v error -y -f lavfi -i "aevalsrc='0.25*sin(2*PI*440*t)|0.25*sin(2*PI*440*t)|$left|0|0|0':s=22050:d=0.5:c=5.1" \
  -map_metadata -1 -fflags +bitexact -flags +bitexact -c:a aac -b:a 128k surround.aac
mono 22050 -c:a libmp3lame -b:a 32k lame.mp3
mono 22050 -c:a libmp3lame -b:a 32k -write_xing 0 untagged.mp3
mono 24000 -c:a mp2 -b:a 48k layer2.mp2
mono 22050 -c:a libvorbis -q:a 0 vorbis.ogg
mono 48000 -c:a libopus -b:a 64k -application audio -page_duration 60000 mono.opus
mono 48000 -c:a libopus -b:a 12k -application voip -frame_duration 60 silk.opus
stereo 48000 -c:a libopus -b:a 48k -application audio stereo.opus
stereo 48000 -c:a libopus -b:a 48k -application audio stereo.webm
mono 48000 -c:a libopus -b:a 64k opus.mp4
ffmpeg -nostdin -v error -y -f lavfi -i testsrc=d=0.5:s=32x32:r=4 -f lavfi -i "aevalsrc='$left':s=22050:d=0.5" \
  -map 0:v -map 1:a -c:v mpeg4 -c:a ac3 -map 1:a -c:a:1 libvorbis -map_metadata -1 -fflags +bitexact -flags +bitexact \
  video_ac3_vorbis.mkv
ffmpeg -nostdin -v error -y -f lavfi -i testsrc=d=0.5:s=32x32:r=4 -c:v mpeg4 -map_metadata -1 -fflags +bitexact \
  -flags +bitexact video_only.mp4
ls -l
