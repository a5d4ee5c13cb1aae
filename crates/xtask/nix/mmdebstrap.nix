# mmdebstrap with the keys that it checks Debian's archives with, as Debian packs them: nixpkgs 26.05 has neither.
# Both packages are programs and data for any machine; what they are run with is nixpkgs'.
{
  lib,
  stdenvNoCC,
  fetchurl,
  writeText,
  makeWrapper,
  apt,
  coreutils,
  dpkg,
  findutils,
  gnugrep,
  gnupg,
  gnused,
  gnutar,
  perl,
  util-linux,
}:
let
  program = fetchurl {
    url = "mirror://debian/pool/main/m/mmdebstrap/mmdebstrap_1.5.7-1+deb13u1_all.deb";
    hash = "sha256-33Me6SsK1A+WGLixyYwukGNSJPayHAkF2rZcoJnI/hQ=";
  };
  keys = fetchurl {
    url = "mirror://debian/pool/main/d/debian-archive-keyring/debian-archive-keyring_2025.1_all.deb";
    hash = "sha256-nqd3jkQxRMpJBmhzeoqyLdPnSLuZ6AXiLsBVq+s8f6w=";
  };
  # What h2ph(1) would make of the C library's headers, of that only what mmdebstrap asks for: x86_64's numbers.
  numbers = {
    "syscall.ph" = {
      SYS_capget = 125;
      SYS_mount = 165;
      SYS_pivot_root = 155;
      SYS_prctl = 157;
      SYS_setgid = 106;
      SYS_setgroups = 116;
      SYS_setuid = 105;
      SYS_umount2 = 166;
      SYS_unshare = 272;
    };
    "sys/ioctl.ph" = {
      TIOCGWINSZ = 21523;
    };
  };
  perlNumbers =
    name: values:
    writeText (baseNameOf name) (
      lib.concatStrings (
        lib.mapAttrsToList (constant: value: "sub ${constant} () { ${toString value} }\n") values
      )
      + "1;\n"
    );
in
stdenvNoCC.mkDerivation {
  pname = "mmdebstrap";
  version = "1.5.7";
  dontUnpack = true;
  nativeBuildInputs = [
    dpkg
    makeWrapper
  ];
  # mmdebstrap's script wants the interpreter that the wrapper's PATH and library paths belong to.
  buildInputs = [ perl ];
  installPhase = ''
    runHook preInstall
    dpkg-deb -x ${program} program
    dpkg-deb -x ${keys} keys
    install -D -t $out/bin program/usr/bin/mmdebstrap
    mkdir -p $out/share $out/lib/perl/sys
    cp -r keys/usr/share/keyrings $out/share/
    ${lib.concatStringsSep "\n    " (
      lib.mapAttrsToList (name: values: "cp ${perlNumbers name values} $out/lib/perl/${name}") numbers
    )}
    patchShebangs $out/bin
    # What is run inside of what it unpacks is in the usual places there. nixpkgs' apt trusts no key by itself.
    wrapProgram $out/bin/mmdebstrap \
      --prefix PERL5LIB : $out/lib/perl \
      --prefix PATH : ${
        lib.makeBinPath [
          apt
          coreutils
          dpkg
          findutils
          gnugrep
          gnupg
          gnused
          gnutar
          util-linux
        ]
      } \
      --suffix PATH : /usr/sbin:/usr/bin:/sbin:/bin \
      --add-flags --keyring=$out/share/keyrings/debian-archive-keyring.pgp
    runHook postInstall
  '';
  meta = {
    description = "Unpacks Debian systems; with the keys of Debian's archives";
    license = lib.licenses.mit;
    mainProgram = "mmdebstrap";
    platforms = [ "x86_64-linux" ];
  };
}
