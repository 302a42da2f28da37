//! Which program is started, and with which arguments.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::DecodeOptions;
use super::super::input::Recording;
use crate::error::Result;

/// The formats that ffmpeg may take a file for: those of recordings. Left out are playlists and scripts, which open other files,
/// subtitles, pictures, devices, raw video and the music of games.
const FORMATS: &str = "aac,aax,ac3,act,adx,aea,aiff,amr,amrnb,amrwb,ape,asf,asf_o,ast,au,avi,avr,caf,codec2,daud,dhav,dsf,dss,\
     dts,dtshd,dv,ea,eac3,epaf,flac,flv,g722,g723_1,g729,gsm,gxf,hca,iff,ilbc,ircam,ivf,ivr,kux,live_flv,loas,lxf,matroska,webm,\
     mlp,mmf,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mtaf,mxf,nistsphere,nsv,nut,nuv,ogg,oma,paf,pva,pvf,qcp,rm,rso,sbc,\
     sds,sdx,shn,sln,smjpeg,sox,spdif,swf,tak,truehd,tta,ty,vag,vivo,voc,vqf,w64,wav,wsd,wtv,wv,wve,xa,xwma";

/// Time stamps become time: what is missing between two packets, or before the first, is filled with silence if it is more than a
/// tenth of a second. Nothing is dropped: time stamps that stand still or go back are those of a bad muxer. In the variables of
/// `asetpts`, 2 is what the first time stamp is late if that is less than a tenth of a second (the delay of a decoder), 1 is where
/// this frame begins, at the end of the one before at the earliest, and 0 is where it ends.
const BY_TIME_STAMPS: &str = "asetpts='st(2,if(eq(N,0),if(lt(PTS*TB,0.1),PTS,0),ld(2)));st(1,max(PTS-ld(2),ld(0)));\
     st(0,ld(1)+NB_SAMPLES/SR/TB);ld(1)',aresample=async=1:first_pts=0";

/// The standard input as a file in which one can go back; a pipe is none.
#[cfg(unix)]
const STDIN: &str = "file:/dev/stdin";
#[cfg(not(unix))]
const STDIN: &str = "pipe:0";

/// The `ffmpeg` that the shell would start: the first executable file of that name in the folders of PATH. Folders that are not
/// absolute are left out: they are wherever the program happens to be started, and may hold anything.
pub(in super::super) fn find() -> Option<PathBuf> {
    find_in(&env::var_os("PATH")?)
}

fn find_in(path: &OsStr) -> Option<PathBuf> {
    let name = format!("ffmpeg{}", env::consts::EXE_SUFFIX);
    env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&name))
        .find(|file| executable(file))
}

#[cfg(unix)]
fn executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn executable(file: &Path) -> bool {
    file.is_file()
}

/// ffmpeg on a recording. No shell is involved.
pub(super) fn command(program: &Path, recording: &Recording, options: &DecodeOptions) -> Result<Command> {
    let handle = recording.handle()?;
    let input = match &handle {
        None => {
            // A name of a file, whatever it begins with or contains: not an option, and not an address.
            let mut input = OsString::from("file:");
            input.push(&recording.name);
            input
        }
        Some(_) => STDIN.into(),
    };
    let mut command = Command::new(program);
    command.args(arguments(input, options));
    command.stdin(handle.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A program that parses untrusted input gets no tokens, and no variables that change what it writes.
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
    // Counted from 1 here, from 0 there. Otherwise ffmpeg takes the default track.
    if let Some(track) = options.track {
        all.extend(["-map".into(), format!("0:a:{}", track.saturating_sub(1)).into()]);
    }
    if options.sync {
        all.extend(["-af".into(), BY_TIME_STAMPS.into()]);
    }
    all.extend(["-map_metadata", "-1", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"].map(OsString::from));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_an_option_or_an_address() {
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

    #[cfg(unix)]
    #[test]
    fn only_executable_files_in_absolute_folders_of_the_path_are_found() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for name in ["folder", "plain", "good"] {
            std::fs::create_dir_all(place(name)).unwrap();
        }
        std::fs::create_dir(place("folder/ffmpeg")).unwrap();
        std::fs::write(place("plain/ffmpeg"), "").unwrap();
        std::fs::set_permissions(place("plain/ffmpeg"), std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(place("good/ffmpeg"), "").unwrap();
        std::fs::set_permissions(place("good/ffmpeg"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path =
            env::join_paths([PathBuf::new(), ".".into(), place("folder"), place("plain"), place("good")]).unwrap();
        assert_eq!(find_in(&path), Some(place("good/ffmpeg")));
        assert_eq!(find_in(OsStr::new("")), None);
        assert_eq!(find_in(&env::join_paths([place("folder"), place("plain")]).unwrap()), None);
    }
}
