"""An RTSP camera on loopback, by GStreamer: `python3 rtsp_server.py PORT`, with Debian's interpreter.

Serves /stream1: 320 x 240 pixels of one orange, MJPEG over RTP, 20 frames a second. Prints its port once it listens.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")

from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - the versions are chosen before

PICTURE = "videotestsrc is-live=true pattern=solid-color foreground-color=0xffff8000"
FORMAT = "video/x-raw,format=I420,width=320,height=240,framerate=20/1"

Gst.init(None)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(f"( {PICTURE} ! {FORMAT} ! jpegenc ! rtpjpegpay name=pay0 pt=26 )")
factory.set_shared(True)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
server.get_mount_points().add_factory("/stream1", factory)
if not server.attach(None):
    sys.exit(f"port {sys.argv[1]} is taken")
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
