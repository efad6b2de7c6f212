"""Grad-CAM: vis_cam.py CONFIG CHECKPOINT IMAGE PICTURE"""

from must_mm.analysis.cam import main

if __name__ == '__main__':
    main()
