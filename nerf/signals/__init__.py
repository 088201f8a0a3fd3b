"""Everything of `nerf fit`: pictures, films, sounds, shapes, scans."""
