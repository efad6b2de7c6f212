"""What a training costs on many GPUs: tools/scaling.py CONFIG"""

from benchmarks.scaling import main

if __name__ == '__main__':
    main()
