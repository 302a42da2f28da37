//! The command line and environment of ffmpeg.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::DecodeOptions;
use super::super::input::Recording;
use crate::error::Result;

/// ffmpeg's demuxers that are allowed (`-format_whitelist`): those of recordings. Excluded are playlists and scripts,
/// which open other files, and subtitles, pictures, devices, raw video and game music.
const FORMATS: &str = "aac,aax,ac3,act,adx,aea,aiff,amr,amrnb,amrwb,ape,asf,asf_o,ast,au,avi,avr,caf,codec2,daud,dhav,dsf,dss,\
     dts,dtshd,dv,ea,eac3,epaf,flac,flv,g722,g723_1,g729,gsm,gxf,hca,iff,ilbc,ircam,ivf,ivr,kux,live_flv,loas,lxf,matroska,webm,\
     mlp,mmf,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mtaf,mxf,nistsphere,nsv,nut,nuv,ogg,oma,paf,pva,pvf,qcp,rm,rso,sbc,\
     sds,sdx,shn,sln,smjpeg,sox,spdif,swf,tak,truehd,tta,ty,vag,vivo,voc,vqf,w64,wav,wsd,wtv,wv,wve,xa,xwma";

/// Audio filter that fills gaps in the time stamps, and a late start, with silence if they exceed 0.1 s. It drops
/// nothing: time stamps that repeat or go back come from faulty muxers.
///
/// Variables of `asetpts`: 2 is the first time stamp if it is less than 0.1 s (decoder delay), else 0; 1 is the start
/// of this frame, not before the end of the previous one; 0 is the end of this frame.
const SYNC_FILTER: &str = "asetpts='st(2,if(eq(N,0),if(lt(PTS*TB,0.1),PTS,0),ld(2)));st(1,max(PTS-ld(2),ld(0)));\
     st(0,ld(1)+NB_SAMPLES/SR/TB);ld(1)',aresample=async=1:first_pts=0";

/// The standard input as a seekable file, which ffmpeg's `pipe:` protocol does not support.
#[cfg(unix)]
const STDIN: &str = "file:/dev/stdin";
#[cfg(not(unix))]
const STDIN: &str = "pipe:0";

/// The command that decodes a recording. It is started without a shell.
pub(super) fn command(program: &Path, recording: &Recording, options: &DecodeOptions) -> Result<Command> {
    let handle = recording.handle()?;
    let input = match &handle {
        None => {
            // The prefix makes ffmpeg take any name as a file, never as an option or a URL.
            let mut input = OsString::from("file:");
            input.push(&recording.name);
            input
        }
        Some(_) => STDIN.into(),
    };
    let mut command = Command::new(program);
    command.args(arguments(input, options));
    command.stdin(handle.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::piped()).stderr(Stdio::piped());
    // ffmpeg parses untrusted input, so that it must not see access tokens; other variables could change its output.
    command.env_clear();
    const KEPT: [&str; 5] = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR"];
    command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.env("AV_LOG_FORCE_NOCOLOR", "1");
    Ok(command)
}

fn arguments(input: OsString, options: &DecodeOptions) -> Vec<OsString> {
    let reading = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "repeat+level+info"];
    let limits = ["-protocol_whitelist", "file,pipe", "-format_whitelist", FORMATS];
    let mut all: Vec<OsString> = reading.iter().chain(&limits).map(OsString::from).collect();
    all.extend(["-i".into(), input, "-vn".into(), "-sn".into(), "-dn".into()]);
    // ffmpeg counts tracks from 0. Without `-map` it takes the default track.
    if let Some(track) = options.track {
        all.extend(["-map".into(), format!("0:a:{}", track.saturating_sub(1)).into()]);
    }
    if options.sync {
        all.extend(["-af".into(), SYNC_FILTER.into()]);
    }
    all.extend(["-map_metadata", "-1", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"].map(OsString::from));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_an_option_or_a_url() {
        for name in ["-i.ts", "http://example.org/a.ts", "concat:a|b", "a b\".ts"] {
            let recording = Recording { name: name.into(), place: super::super::super::input::Place::Named };
            let command = command("/bin/ffmpeg".as_ref(), &recording, &DecodeOptions::default()).unwrap();
            let given: Vec<_> = command.get_args().collect();
            let at = given.iter().position(|argument| *argument == "-i").unwrap();
            assert_eq!(given[at + 1], OsString::from(format!("file:{name}")).as_os_str());
            assert_eq!(given.iter().filter(|argument| argument.to_string_lossy().contains(name)).count(), 1);
        }
        let second = DecodeOptions { track: Some(2), sync: false, ..Default::default() };
        let given = arguments("file:a".into(), &second);
        assert!(given.windows(2).any(|pair| pair[0] == "-map" && pair[1] == "0:a:1") && !given.contains(&"-af".into()));
    }

    #[test]
    fn formats_that_open_other_files_are_not_allowed() {
        let allowed: Vec<&str> = FORMATS.split(',').collect();
        for format in [
            "hls",
            "concat",
            "dash",
            "sdp",
            "rtsp",
            "image2",
            "lavfi",
            "tty",
            "imf",
            "webm_dash_manifest",
            "tedcaptions",
        ] {
            assert!(!allowed.contains(&format), "{format}");
        }
        assert!(
            allowed.iter().all(|format| format.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')),
            "{FORMATS}"
        );
    }
}
