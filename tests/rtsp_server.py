"""An RTSP camera on loopback, by GStreamer: `python3 rtsp_server.py PORT`, with Debian's interpreter.

Serves /stream1: 320 x 240 pixels of one orange, MJPEG over RTP, 20 frames a second. /changing is the same for a second
and then 640 x 480 pixels of blue, in the same stream. Prints its port once it listens.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")

from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - the versions are chosen before

PICTURE = "videotestsrc name=picture is-live=true pattern=solid-color foreground-color=0xffff8000"
FORMAT = "video/x-raw,format=I420,width={},height={},framerate=20/1"
LAUNCH = f"( {PICTURE} ! capsfilter name=format caps={FORMAT.format(320, 240)} ! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
BLUE = 0xFF0000FF
CHANGES_AFTER_MS = 1000


def change(_: GstRtspServer.RTSPMediaFactory, media: GstRtspServer.RTSPMedia) -> None:
    """Let a stream that is about to begin change its size and its colour later on."""
    picture, format_ = (media.get_element().get_by_name(name) for name in ("picture", "format"))

    def later() -> bool:
        picture.set_property("foreground-color", BLUE)
        format_.set_property("caps", Gst.Caps.from_string(FORMAT.format(640, 480)))
        return False

    GLib.timeout_add(CHANGES_AFTER_MS, later)


Gst.init(None)
factory, changing = GstRtspServer.RTSPMediaFactory(), GstRtspServer.RTSPMediaFactory()
for each in (factory, changing):
    each.set_launch(LAUNCH)
    each.set_shared(True)
changing.connect("media-configure", change)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
server.get_mount_points().add_factory("/stream1", factory)
server.get_mount_points().add_factory("/changing", changing)
if not server.attach(None):
    sys.exit(f"port {sys.argv[1]} is taken")
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
